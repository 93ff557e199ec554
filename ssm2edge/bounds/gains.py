"""Proven upper bounds on the gains of SISO channels.

On N taps a channel is the polynomial ``g(z) = sum_{k<=N} g_k z^k``, and for inputs of at most N + 1 samples

    ||g * u||_2 <= max_w |g(e^{iw})| ||u||_2        sup_k |(g * u)[k]| <= sum_k |g_k| sup_k |u[k]|

A grid of M equispaced frequencies cannot miss the maximum by much: ``e^{-iwN/2} g(e^{iw})`` is of exponential type N / 2, and a
real function f of type s that attains its maximum F at w0 obeys ``f(w) >= F cos(s (w - w0))`` while ``s |w - w0| <= pi / 2``
(Duffin and Schaeffer 1938).  The nearest grid point is within pi / M, hence ``max <= grid maximum / cos(pi N / (2 M))``.
On the infinite horizon the taps after K add at most ``sum_j |residue_j| |pole_j|^(K-1) / (1 - |pole_j|)`` to both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ssm2edge.bounds.errors import BoundError
from ssm2edge.systems.norms import h2_error, h2_norm
from ssm2edge.systems.response import channel_responses
from ssm2edge.systems.system import System

OVERSAMPLING = 8
"""Grid points per tap: the grid maximum is then raised by at most 1.95 percent."""

ROUNDING = 1 + 1e-9
"""Above the float64 rounding of sums of any length met here."""

POINTS_AT_ONCE = 1 << 22
"""Grid points of all channels that are transformed at once."""

SHORTEST, LONGEST = 1 << 10, 1 << 15
NEGLIGIBLE_TAIL = 1e-4


@dataclass(frozen=True, eq=False)
class Gains:
    """Upper bounds on the gains of a bank's channels, each ``(channels,)`` float64.

    Attributes
    ----------
    energy
        From l2 to l2: the H-infinity norm, of the taps on the horizon.
    peak
        From sup to sup: the sum of the taps' magnitudes.
    h2
        From l2 to sup: the h2 norm on the horizon.
    """

    energy: Tensor
    peak: Tensor
    h2: Tensor


def gains(system: System, horizon: int | None) -> Gains:
    """Bound the gains of a bank's channels; see the module for the proofs."""
    taps, tail = _taps([system], horizon)
    return Gains(*_bounded(taps, tail), h2_norm(system, horizon) * ROUNDING)


def error_gains(system: System, other: System, horizon: int | None) -> Gains:
    """Bound the gains of the difference of two banks."""
    (taps, other_taps), (tail, other_tail) = (x.chunk(2) for x in _taps([system, other], horizon))
    energy, peak = _bounded(taps - other_taps, tail + other_tail)
    # The squares in h2_error cancel: where it is tiny its rounding is not.
    floor = 1e-7 * h2_norm(system, horizon)
    return Gains(energy, peak, torch.maximum(h2_error(system, other, horizon), floor) * ROUNDING)


def _taps(systems: list[System], horizon: int | None) -> tuple[Tensor, Tensor]:
    for system in systems:
        if not system.is_siso or system.M is not None or len(system.batch_shape) != 1:
            raise BoundError("The output bound is known for banks of SISO channels only.")
        if not float(system.poles.abs().max()) < 1:
            raise BoundError("The output bound needs stable layers.")
    if horizon is not None:
        taps = torch.cat([channel_responses(system, horizon + 1) for system in systems])
        return taps, taps.new_zeros(len(taps))
    length = SHORTEST
    while True:
        tail = torch.cat([_tail(system, length) for system in systems])
        if length >= LONGEST or float(tail.max()) < NEGLIGIBLE_TAIL:
            break
        length *= 2
    return torch.cat([channel_responses(system, length) for system in systems]), tail


def _tail(system: System, length: int) -> Tensor:
    modulus = system.poles.abs()
    return (system.residues.abs() * modulus ** (length - 1) / (1 - modulus)).sum(-1)


def _bounded(taps: Tensor, tail: Tensor) -> tuple[Tensor, Tensor]:
    degree = taps.shape[-1] - 1
    points = OVERSAMPLING * 2 ** math.ceil(math.log2(degree + 1)) if degree else 1
    grid = torch.cat(
        [torch.fft.rfft(part, n=points).abs().amax(-1) for part in torch.split(taps, max(1, POINTS_AT_ONCE // points))]
    )
    energy = grid / math.cos(math.pi * degree / (2 * points)) if degree else grid
    peak = taps.abs().sum(-1)
    # The sum of magnitudes bounds the response at every frequency too.
    return (torch.minimum(energy, peak) + tail) * ROUNDING, (peak + tail) * ROUNDING
