"""Smooth noise cut off from below."""

from __future__ import annotations

import numpy as np

from ssm2edge.signals.ensemble import Array, of_unit_size, per_sequence
from ssm2edge.signals.smooth import smooth


def rectified(generator: np.random.Generator, count: int, steps: int, features: int) -> Array:
    """Return what smooth noise exceeds a threshold by, each sequence with a threshold of its own."""
    return of_unit_size(np.maximum(smooth(generator, count, steps, features) - per_sequence(generator, count, -0.5, 1.5), 0))
