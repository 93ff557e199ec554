"""Targets given by their impulse responses, for channels whose modes cancel.

A state matrix far from normal has residues many times larger than its response.  Sums over them are known to few digits; sums
over the taps, ``H(l) = sum_k h[k] exp(l k)`` and its derivatives, are exact.  With k = b T + j they are matrix products,

    H(l) = sum_b exp(l T)^b sum_j h[b T + j] exp(l)^j,

so that powers of about 2 sqrt(taps) exponents are enough.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ssm2edge.systems.division import TINY
from ssm2edge.systems.response import impulse_response, pole_sequences
from ssm2edge.systems.system import System

LONGEST = 4096
"""Taps that stand for the infinite horizon."""

SMALLEST = 1e-12
"""Weight of the normalised residues' energies: with less, normalised Gram matrices are indefinite by rounding."""


@dataclass(frozen=True, eq=False)
class TapTargets:
    """SISO targets h[k], k < horizon.

    Attributes
    ----------
    blocks
        ``(batch, T, count)`` float64: ``h[b T + j]`` at ``[j, b]``.
    energy, horizon, ridge
        As in :class:`ssm2edge.reduction.newton.Channels`; the horizon is finite.
    """

    blocks: Tensor
    energy: Tensor
    horizon: int
    ridge: float

    @property
    def rows(self) -> int:
        """Numbers that are computed for each pole."""
        return self.blocks.shape[-2]

    def penalty(self, gram: Tensor, memories: Tensor, poles: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weights by which the noise of a recurrence that runs for ever counts, and their derivatives."""
        modulus = poles.abs()
        square = modulus.square()
        lasting = 1 / (1 - square).clamp_min(1e-12)
        # Of two sequences of a pair, one is all but zero where the pair nears the real axis, and needs a huge residue.
        weights = self.ridge * lasting.square() / gram.diagonal(dim1=-2, dim2=-1).clamp_min(TINY)
        # log of 1 / (1 - exp(-2 exp(nu)))^2 by nu.
        bent = 4 * torch.log(modulus.clamp_min(1e-18)) * square * lasting
        return weights.clamp_min(SMALLEST), torch.where(weights > SMALLEST, bent, 0.0)

    def __getitem__(self, index: Tensor | slice) -> TapTargets:
        return TapTargets(self.blocks[index], self.energy[index], self.horizon, self.ridge)

    def moments(self, poles: Tensor, paired: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return ``sum_k k^i h[k] pole^k`` for i = 0, 1, 2, each ``(batch, r)`` complex128."""
        length, count = self.blocks.shape[-2:]
        inner = pole_sequences(poles, length)
        times = torch.arange(length, dtype=torch.float64)
        weighted = torch.cat((inner, times * inner, times.square() * inner), dim=-2)
        sums = torch.complex(weighted.real @ self.blocks, weighted.imag @ self.blocks)
        zero, one, two = sums.chunk(3, dim=-2)
        outer = pole_sequences(inner[..., -1] * poles, count)
        starts = length * torch.arange(count, dtype=torch.float64)
        first = starts * zero + one
        second = starts.square() * zero + 2 * starts * one + two
        return (outer * zero).sum(-1), (outer * first).sum(-1), (outer * second).sum(-1)


def taps_of(system: System, horizon: int | None, ridge: float) -> TapTargets:
    """Read the strictly proper part of SISO systems, ``(channels,)``, as targets."""
    taps = LONGEST if horizon is None else horizon
    response = impulse_response(system, taps + 1)[:, 0, 0, 1:]
    length = math.isqrt(taps - 1) + 1
    padded = torch.nn.functional.pad(response, (0, -taps % length))
    return TapTargets(padded.reshape(len(padded), -1, length).mT.contiguous(), response.square().sum(-1), taps, ridge)
