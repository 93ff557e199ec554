"""What a device in float32 makes of a reduction: the judge where an original's modes cancel.

The search for poles evaluates sums over the original's residues.  Where those are far larger than the response, as those of a
state matrix far from normal are, the sums are known to few digits, and poles that only cancel can look like good ones.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ssm2edge.reduction.contract import Reduction
from ssm2edge.systems.rounding import recurrence_noise, relative_float32_noise
from ssm2edge.systems.system import System

LARGEST_NOISE = 1e-4
"""Rounding of a channel's residues to float32, relative to its response, from which on its modes are said to cancel."""

WEIGHT = 30.0
"""Of the noise of a recurrence beside the error: verification is stricter with noise than users are with errors."""


def cancels(system: System) -> Tensor:
    """Return which channels' modes cancel, ``(*batch,)`` bool; False for systems that are no SISO channels."""
    if not system.is_siso or system.M is not None:
        return torch.zeros(system.batch_shape, dtype=torch.bool)
    return relative_float32_noise(system) > LARGEST_NOISE


def felt_error(system: System, reduction: Reduction) -> Tensor:
    """Return the errors of a reduction, with the noise of a float32 recurrence where the original's modes cancel."""
    lost = cancels(system)
    error = reduction.error.clone()
    if lost.any():
        error[lost] = torch.hypot(error[lost], WEIGHT * recurrence_noise(reduction.system[lost]))
    return error
