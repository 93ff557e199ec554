"""Samples that are not finite: a state keeps them for good."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm2edge.runtime.errors import InputError


def all_finite(samples: NDArray[Any]) -> bool:
    """Return whether no sample is NaN or infinite, at the cost of one product with itself."""
    return samples.dtype.kind != "f" or math.isfinite(np.vdot(samples, samples)) or bool(np.isfinite(samples).all())


def check_finite(name: str, samples: NDArray[Any]) -> None:
    """Raise `InputError` if a sample is NaN or infinite."""
    if not all_finite(samples):
        place = tuple(int(index) for index in np.argwhere(~np.isfinite(samples))[0])
        raise InputError(f"{name}{list(place)} is {samples[place]}, which would spoil all answers after it: replace it first.")
