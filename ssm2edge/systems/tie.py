"""Shared poles: those of all channels of a bank follow from fewer.

Layers with one state matrix for many channels, each sampled at a step of its own, have

    power:     pole_hj = generator_gj ^ step_h                                           (zero-order hold)
    bilinear:  pole_hj = (1 + step_h z_gj) / (1 - step_h z_gj),  z = (generator - 1) / (generator + 1)

with g the group of channel h.  The generator is a set of poles itself: those at step one.  With all steps one the channels of a
group have the same poles, as the heads of one channel do.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

RULES = ("power", "bilinear")


@dataclass(frozen=True, eq=False)
class Tie:
    """Poles of a bank's channels from the generators of their groups.

    Attributes
    ----------
    generator
        ``(groups, n)`` complex128, stable, in canonical order.
    group
        ``(channels,)`` int64.
    steps
        ``(channels,)`` float64, positive.
    rule
        ``power`` or ``bilinear``.
    """

    generator: Tensor
    group: Tensor
    steps: Tensor
    rule: str = "power"

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ValueError(f"poles follow from shared ones by {' or '.join(RULES)}, not {self.rule!r}.")
        if self.generator.dtype != torch.complex128 or self.steps.dtype != torch.float64:
            raise TypeError(f"shared poles are complex128 with float64 steps, not {self.generator.dtype}, {self.steps.dtype}.")
        if self.group.shape != self.steps.shape or self.group.ndim != 1 or self.generator.ndim != 2:
            raise ValueError(
                f"a group {tuple(self.group.shape)} and a step {tuple(self.steps.shape)} for every channel are needed, and "
                f"generators {tuple(self.generator.shape)} of every group."
            )

        places = canonical_places(self.generator)
        if places is not None:
            object.__setattr__(self, "generator", self.generator.gather(-1, places))

    @property
    def channels(self) -> int:
        """Channels of the bank."""
        return len(self.group)

    @property
    def order(self) -> int:
        """States of each channel."""
        return self.generator.shape[-1]

    @property
    def stepless(self) -> bool:
        """True if the channels of a group have the same poles."""
        return bool((self.steps == 1).all())

    def poles(self) -> Tensor:
        """Return the channels' poles, ``(channels, n)``; of a conjugate pair either member may come first."""
        return follow(self.generator[self.group], self.steps[:, None], self.rule)

    def numbers(self, order: int) -> int:
        """Count the real numbers of such a bank at an order: poles by group; steps, residues and feedthrough by channel."""
        steps = 0 if self.stepless else self.channels
        return len(self.generator) * order + steps + self.channels * (order + 1)


def canonical_places(poles: Tensor) -> Tensor | None:
    """Return the places that put poles ``(*batch, n)`` into canonical order; None if no section splits a pair.

    Two real poles may stand before a pair: they are a section of their own.
    """
    real = poles.imag == 0
    even = real.shape[-1] // 2 * 2
    aligned = (real[..., 0:even:2] == real[..., 1:even:2]).all() and real[..., even:].all()
    return None if bool(aligned) else canonical_order(real)


def canonical_order(real: Tensor) -> Tensor:
    """Return the places that put real poles behind pairs; a stable sort keeps the members of each pair together."""
    return torch.argsort(real.to(torch.int8), dim=-1, stable=True)


def follow(generator: Tensor, steps: Tensor, rule: str) -> Tensor:
    """Return the poles at the given steps; real ones stay real, and of their sign under ``power``."""
    if rule == "power":
        real = generator.imag == 0
        log = torch.log(torch.where(real, generator.abs().to(generator), generator))
        sign = torch.where(real & (generator.real < 0), -1.0, 1.0)
        poles = torch.where(steps == 1, generator, sign * torch.exp(steps * log))
    else:
        z = steps * (generator - 1) / (generator + 1)
        poles = torch.where(steps == 1, generator, (1 + z) / (1 - z))
    return torch.where(generator.imag == 0, poles.real.to(poles), poles)


def pairs_upright(poles: Tensor, residues: Tensor) -> tuple[Tensor, Tensor]:
    """Return poles and residues ``(*batch, n)`` with the member in the upper half plane first in every conjugate pair."""
    first = torch.arange(poles.shape[-1]) % 2 == 0
    turned = torch.where(first, poles.imag, -poles.imag) < 0
    return torch.where(turned, poles.conj(), poles), torch.where(turned, residues.conj(), residues)
