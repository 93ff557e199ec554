"""A dictionary of sections on a grid of decays and frequencies, and what each would capture beside the poles that are there.

Unlike that of ``greedy.py`` it owes nothing to the original's modes.  A section of an atom has two real sequences; their inner
products are written as one complex number each, for a pair ``exp((-decay + i theta) k)`` itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ssm2edge.reduction.greedy import block_roots
from ssm2edge.reduction.newton import Targets
from ssm2edge.reduction.projection import gram_factor, memory
from ssm2edge.reduction.sections import Sections
from ssm2edge.systems.division import TINY
from ssm2edge.systems.gram import real_gram
from ssm2edge.systems.real_coordinates import real_rows
from ssm2edge.systems.window import window_sum

DECAYS, ANGLES = 24, 28
"""Decays of the grid, and frequencies of each half of the band: below and above a quarter of a turn."""
FASTEST = 3.0
REMEMBERED = 3.0
"""Horizons that the slowest atom remembers."""
NARROWEST = 0.15
"""Smallest frequency of a pair, in units of its decay: below, two real poles do."""
RIDGE = 1e-11
"""Smallest weight with which atoms are projected off the poles that are there."""
BLOCK = 4
"""Channels that atoms are measured for at a time."""


@dataclass(frozen=True, eq=False)
class Atoms:
    """Candidate sections of two states.

    Attributes
    ----------
    parameters
        ``(count, 2)``, as in :class:`~ssm2edge.reduction.sections.Sections`.
    paired, negative
        ``(count,)`` bool: a conjugate pair, or two real poles below zero.
    slowest
        Decay that no pole goes below.
    """

    parameters: Tensor
    paired: Tensor
    negative: Tensor
    slowest: float

    def sections(self, chosen: Tensor) -> Sections:
        """Return chosen atoms, one for each index, ``(len(chosen), 2)``."""
        pairs = self.paired[chosen][:, None].expand(-1, 2)
        return Sections(self.parameters[chosen], pairs, self.negative[chosen][:, None].expand(-1, 2), self.slowest)

    def places(self) -> Tensor:
        """Return the first pole of each atom, ``(count,)``."""
        return self.sections(torch.arange(len(self.parameters))).poles()[:, 0]


def atoms_of(slowest: float, taps: int, spread: float) -> Atoms:
    """Return the dictionary for responses of so many taps, whose channels' steps differ by the factor ``spread``."""
    longest = taps * spread
    lowest = max(slowest, 1 / (REMEMBERED * longest))
    decays = torch.exp(torch.linspace(math.log(lowest), math.log(FASTEST), DECAYS, dtype=torch.float64))
    low = torch.exp(torch.linspace(math.log(math.pi / longest), math.log(math.pi / 2), ANGLES, dtype=torch.float64))
    grid = torch.cartesian_prod(decays, torch.cat((low, math.pi - low)))
    grid = grid[torch.minimum(grid[:, 1], math.pi - grid[:, 1]) > NARROWEST * grid[:, 0]]
    pairs = torch.stack((grid[:, 0].log(), grid[:, 1]), -1)
    reals = torch.stack((decays[:-1].log(), decays[1:].log()), -1)
    count = len(reals)
    paired = torch.arange(len(pairs) + 2 * count) < len(pairs)
    negative = torch.arange(len(pairs) + 2 * count) >= len(pairs) + count
    return Atoms(torch.cat((pairs, reals, reals)), paired, negative, slowest)


def captured(target: Targets, present: Sections, atoms: Sections) -> tuple[Tensor, Tensor]:
    """Return the energy that each atom would capture beside the sections that are there.

    Parameters
    ----------
    target
        ``(batch,)`` responses.
    present
        ``(batch, r)``, zero or more states.
    atoms
        ``(batch, 2 count)``.

    Returns
    -------
    both, first
        ``(batch, count)``: of the whole atom, and of its first sequence alone.
    """
    blocks = [slice(i, i + BLOCK) for i in range(0, len(target.energy), BLOCK)]
    parts = [_captured(target[block], present[block], atoms[block]) for block in blocks]
    return torch.cat([both for both, _ in parts]), torch.cat([first for _, first in parts])


def _captured(target: Targets, present: Sections, atoms: Sections) -> tuple[Tensor, Tensor]:
    horizon, every, paired = target.horizon, atoms.poles(), atoms.paired[..., 0::2]
    one, other = every[..., 0::2], every[..., 1::2]

    def joined(values: Tensor) -> Tensor:
        """Of real sequences, two by two, real and imaginary parts; of pairs, those of the first member."""
        first, second = values[..., 0::2], values[..., 1::2]
        return torch.where(paired.unsqueeze(-2) if values.dim() > paired.dim() else paired, first, first.real + 1j * second.real)

    def summed(left: Tensor, right: Tensor) -> Tensor:
        return window_sum(left.flatten()[:, None], right.flatten()[:, None], horizon).reshape(left.shape)

    square, cross, last = summed(one, one), summed(one, other), summed(other, other)
    size = torch.where(paired, cross, torch.zeros_like(cross)).real
    a = torch.where(paired, (size + square.real) / 2, square.real)
    d = torch.where(paired, (size - square.real) / 2, last.real)
    b = torch.where(paired, square.imag / 2, cross.real)
    along = joined(target.moments(every, atoms.paired)[0])
    if present.parameters.shape[-1]:
        poles = present.poles()
        own = window_sum(poles, poles, horizon)
        gram = real_gram(own, present.paired)
        weights, _ = target.penalty(gram, memory(own, present.paired), poles)
        factor, scale, _ = gram_factor(gram, weights.clamp_min(RIDGE))
        moments = real_rows(target.moments(poles, present.paired)[0][..., None], present.paired).real
        kept = torch.linalg.solve_triangular(factor, moments * scale[..., None], upper=False)
        shared = joined(real_rows(window_sum(poles, every, horizon), present.paired)) * scale[..., None]
        parts = torch.linalg.solve_triangular(factor, torch.cat((shared.real, shared.imag), -1), upper=False)
        real, imaginary = parts.chunk(2, -1)
        a, d = a - real.square().sum(-2), d - imaginary.square().sum(-2)
        b = b - (real * imaginary).sum(-2)
        along = along - torch.complex((real * kept).sum(-2), (imaginary * kept).sum(-2))
    whole = torch.where(paired, size, torch.maximum(square.real, last.real)).clamp_min(TINY)
    blocks = torch.stack((a, b, b, d), -1).reshape(*a.shape, 2, 2) / whole[..., None, None]
    goal = torch.view_as_real(along)[..., None] / whole.sqrt()[..., None, None]
    roots = block_roots(blocks)
    first = (roots[..., :1].mT @ goal).square().sum((-2, -1))
    return (roots.mT @ goal).square().sum((-2, -1)), first
