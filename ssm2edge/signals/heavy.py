"""Smooth noise with rare, large values."""

from __future__ import annotations

import numpy as np

from ssm2edge.signals.ensemble import Array, of_unit_size, per_sequence
from ssm2edge.signals.smooth import smooth


def heavy(generator: np.random.Generator, count: int, steps: int, features: int) -> Array:
    """Return smooth noise whose values are raised to a power of each sequence's own, with their sign."""
    noise = smooth(generator, count, steps, features)
    return of_unit_size(np.sign(noise) * np.abs(noise) ** per_sequence(generator, count, 1.0, 3.0))
