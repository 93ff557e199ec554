"""The H-infinity norm of the linear part: the largest singular value of the frequency response, over all frequencies.

Resonances are where the poles are, so every pole's angle starts a search of its own between the neighbouring candidates; a golden
section then closes in on the peaks of the most promising intervals.  All systems of a batch go together.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from ssm2edge.systems.response import frequency_response
from ssm2edge.systems.system import System

# Offsets from a pole's angle, in units of its distance from the unit circle, at which the response is looked at.
OFFSETS = (-3.0, -1.0, -0.3, 0.0, 0.3, 1.0, 3.0)
GRID = 65
INTERVALS = 8
GOLDEN_STEPS = 50


def hinf_norm(system: System) -> Tensor:
    """Return the H-infinity norm of stable systems, ``(*batch,)`` float64; quadratic outputs are left out.

    The search is local.  No peak between the candidate frequencies is narrower than every pole's width, so the result is exact to
    about 1e-9 in practice.  It never exceeds the true norm.
    """
    flat, batch = replace(system.paper_form(), M=None, tie=None).reshaped(-1), system.batch_shape
    centre, width = flat.poles.angle().abs(), (1 - flat.poles.abs()).clamp_min(1e-15)
    near = (centre[..., None] + width[..., None] * torch.tensor(OFFSETS, dtype=torch.float64)).flatten(-2)
    grid = torch.linspace(0, math.pi, GRID, dtype=torch.float64).expand(len(near), -1)
    candidates = torch.cat((near.abs().clamp(0, math.pi), grid), -1).sort(-1).values
    gain = response_gain(flat, candidates)
    best = gain.amax(-1)
    # The response is even about 0 and pi, so an interval may end there.
    count = candidates.shape[-1]
    peaks = gain.topk(min(INTERVALS, count), dim=-1).indices
    low = candidates.gather(-1, (peaks - 1).clamp_min(0))
    high = candidates.gather(-1, (peaks + 1).clamp_max(count - 1))
    ratio = (math.sqrt(5) - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = response_gain(flat, left), response_gain(flat, right)
    for _ in range(GOLDEN_STEPS):
        rising = at_left < at_right
        low, high = torch.where(rising, left, low), torch.where(rising, high, right)
        new = torch.where(rising, low + ratio * (high - low), high - ratio * (high - low))
        left, right = torch.where(rising, right, new), torch.where(rising, new, left)
        at_new = response_gain(flat, new)
        at_left, at_right = torch.where(rising, at_right, at_new), torch.where(rising, at_new, at_left)
        best = torch.maximum(best, at_new.amax(-1))
    return best.reshape(batch)


def response_gain(system: System, frequencies: Tensor) -> Tensor:
    """Return the largest singular value of the response at frequencies ``(batch, F)``, of the same shape."""
    response = frequency_response(system, frequencies)
    if system.is_siso:
        return response[..., 0, 0, :].abs()
    gain: Tensor = torch.linalg.matrix_norm(response.movedim(-1, -3), ord=2)
    return gain
