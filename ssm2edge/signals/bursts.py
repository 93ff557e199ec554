"""Smooth noise that is silent most of the time."""

from __future__ import annotations

import numpy as np

from ssm2edge.signals.ensemble import Array, of_unit_size, per_sequence
from ssm2edge.signals.levels import levels
from ssm2edge.signals.smooth import smooth


def bursts(generator: np.random.Generator, count: int, steps: int, features: int) -> Array:
    """Return smooth noise in an envelope that is zero but for random spans; their share is each sequence's own."""
    heard = levels(generator, count, steps, 1) > per_sequence(generator, count, 0.0, 1.5)
    return of_unit_size(smooth(generator, count, steps, features) * heard)
