"""Tied banks: channels that share their poles and input coefficients, as S4 configurations with one set of them store it.

Such a bank is one system with one input at a time and an output row for each channel,

    K_h[k] = C_h A^(k-1) B        sum_h |K_h - Khat_h|^2 = |G - Ghat|^2,   G = (A, B, [C_1; ...; C_H], D),

so that its reduction is that of a system of one input and H outputs, and stays tied.  Reduced channel by channel, every channel
gets poles of its own: H r numbers in place of r.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ssm2edge.reduction import reduce_system
from ssm2edge.reduction.contract import Reduction
from ssm2edge.systems.norms import h2_error, h2_norm
from ssm2edge.systems.system import System, siso_bank


def is_tied(bank: System) -> bool:
    """Whether it is a bank of linear SISO channels, batch shape ``(channels,)``, with the same poles in every channel."""
    return len(bank.batch_shape) == 1 and bank.is_siso and bank.M is None and bool((bank.poles == bank.poles[:1]).all())


def as_one_system(bank: System) -> System:
    """Write a tied bank as one system, batch shape ``()``, of one input and an output for each channel.

    Raises
    ------
    ValueError
        If the bank is not tied.
    """
    if not is_tied(bank):
        raise ValueError("the channels of this bank have poles of their own; only a bank with the same poles is one system.")
    poles = bank.poles[0]
    return System(poles, torch.ones_like(poles)[:, None], bank.residues, bank.D[:, 0])


def as_bank(system: System) -> System:
    """Write one system of one input as the tied bank of its outputs."""
    residues = system.C * system.B[:, 0]
    return siso_bank(system.poles.expand_as(residues).contiguous(), residues, system.D[:, 0])


def reduce_tied(bank: System, order: int, method: str = "gradient", horizon: int | None = None) -> Reduction:
    """Reduce a tied bank to a tied bank; the sum of the channels' squared errors is what is made small.

    Parameters
    ----------
    bank
        Tied, batch shape ``(channels,)``.
    order, method, horizon
        As in :func:`ssm2edge.reduction.reduce_system`.

    Returns
    -------
    Reduction
        Of the bank; errors by channel, outcome and iterations alike for all.

    Raises
    ------
    ValueError
        If the bank is not tied, or as in :func:`ssm2edge.reduction.reduce_system`.
    """
    joint = reduce_system(as_one_system(bank), order, method, horizon)
    reduced = as_bank(joint.system)
    error, norm = h2_error(bank, reduced, horizon), h2_norm(bank, horizon)

    def alike(value: Tensor) -> Tensor:
        return value.expand(bank.batch_shape).clone()

    return replace(
        joint,
        system=reduced,
        error=error,
        relative_error=torch.where(norm > 0, error / norm.where(norm > 0, torch.ones_like(norm)), error),
        spectral_radius=alike(joint.spectral_radius),
        outcomes=alike(joint.outcomes),
        iterations=alike(joint.iterations),
    )


def parameters(bank: System) -> int:
    """Real numbers that a bank needs: poles once where they are shared, residues and a feedthrough for every channel."""
    channels, order = bank.batch_shape[0], bank.order
    return (1 if is_tied(bank) else channels) * order + channels * (order + 1)
