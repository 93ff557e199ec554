"""Rounding of a bank's coefficients to float32.

A residue rounded to float32 is off by up to 2^-25 of itself, and its mode carries that into every tap.  The modes of a state
matrix that is far from normal cancel: their residues are many times larger than the response, and so is what rounding adds to it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ssm2edge.systems.division import relative
from ssm2edge.systems.response import channel_responses
from ssm2edge.systems.system import System

HALF_ULP = 2.0**-25

RECURRENCE = 2.0**-24 / 3**0.5
"""Root mean square of a rounding to float32, relative to what is rounded, at most."""

BLOCK = 64
"""Channels whose responses, which are long, are computed at a time."""

TAPS = 1024
"""Of the responses that noise is compared with.  Energies from Gramians would be rounding themselves if modes cancel."""


def float32_noise(system: System) -> Tensor:
    """Return the h2 norm on ``TAPS`` taps of what residues rounded to float32 add to SISO channels, ``(*batch,)`` float64.

    On the taps of the responses that it is compared with: an integrator remembers for ever, and is not noisier for that.
    """
    memories = (1 / (1 - system.poles.abs().square()).clamp_min(1e-12)).clamp_max(TAPS)
    return HALF_ULP * (system.residues.abs().square() * memories).sum(-1).sqrt()


def recurrence_noise(system: System) -> Tensor:
    """Return what a float32 recurrence, which rounds states at every sample, adds to SISO channels on white input, ``(*batch,)``.

    A state of variance ``memory`` is rounded to 2^-24 of itself, and its mode adds the roundings up over its memory.
    """
    memories = 1 / (1 - system.poles.abs().square()).clamp_min(1e-12)
    return RECURRENCE * (system.residues.abs() * memories).square().sum(-1).sqrt()


def relative_float32_noise(system: System) -> Tensor:
    """Return :func:`float32_noise` relative to the channels' responses; zero for channels that are zero everywhere."""
    if len(system.batch_shape) == 1 and system.batch_shape[0] > BLOCK:
        blocks = [slice(i, i + BLOCK) for i in range(0, system.batch_shape[0], BLOCK)]
        return torch.cat([relative_float32_noise(system[block]) for block in blocks])
    noise, norm = float32_noise(system), channel_responses(system, TAPS).norm(dim=-1)
    return relative(noise, norm)
