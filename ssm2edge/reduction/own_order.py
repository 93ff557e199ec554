"""Systems that keep all their states; they are returned as they are, unless a device in float32 could not run them.

The modes of a state matrix that is far from normal, as HiPPO's are, cancel: their residues are many times larger than the
response, and a device that rounds them computes noise.  Such channels get other poles of the same number, next to their own, and
residues with the ridge of ``projection.py``.  That costs a small h2 error, reported like any other.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ssm2edge.reduction.balanced import put
from ssm2edge.reduction.contract import Outcome, Reduction, summarise
from ssm2edge.reduction.device import calmest, cancels
from ssm2edge.reduction.newton import channels_of, minimise
from ssm2edge.reduction.search import LONG
from ssm2edge.reduction.sections import sections_of, slowest_decay
from ssm2edge.systems.dense import with_real_coefficients
from ssm2edge.systems.system import System

SPREADS = (0.5, 1.0, 2.0)
"""Frequencies of the starts beside the own poles, in units of the slowest mode's decay."""
LARGEST_ANGLE = 3.0


def own_order(system: System, method: str, horizon: int | None) -> Reduction:
    """Return systems of their own order that float32 can hold."""
    as_it_is = summarise(system, system, method, horizon, Outcome.IDENTITY)
    lost = cancels(system)
    if len(system.batch_shape) != 1 or not lost.any():
        return as_it_is
    part = with_real_coefficients(system[lost])
    slowest = slowest_decay(part.poles, horizon)
    starts = [part.poles, *(harmonics(part.poles, spread) for spread in SPREADS)]
    tried = [minimise(channels_of(part, horizon), sections_of(poles, slowest), LONG) for poles in starts]
    calm, which = calmest(part, [minimum.sections.poles() for minimum in tried], horizon)
    iterations = torch.zeros(system.batch_shape, dtype=torch.int64)
    iterations[lost] = torch.stack([minimum.iterations for minimum in tried])[which, torch.arange(len(which))]
    refitted = put(system, lost, calm)
    outcomes = torch.where(lost, int(Outcome.REPAIRED), int(Outcome.IDENTITY))
    return summarise(system, refitted, method, horizon, outcomes, iterations)


def harmonics(poles: Tensor, spread: float) -> Tensor:
    """Return as many poles as slow as the slowest, at odd multiples of half its decay's frequency times ``spread``."""
    decay = -torch.log(poles.abs().amax(-1, keepdim=True))
    count = (poles.shape[-1] + 1) // 2
    angles = (math.pi * spread * decay * (torch.arange(count) + 0.5)).clamp_max(LARGEST_ANGLE)
    half = torch.exp(torch.complex(-decay.expand_as(angles), angles))
    both = torch.stack((half, half.conj()), dim=-1).flatten(-2)[..., : poles.shape[-1]]
    # An odd last pole is alone, and real.
    alone = (
        torch.arange(poles.shape[-1]) == 2 * count - 2 if poles.shape[-1] % 2 else torch.zeros(poles.shape[-1], dtype=torch.bool)
    )
    return torch.where(alone, both.abs().to(both), both)
