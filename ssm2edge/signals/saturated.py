"""Smooth noise between two limits, at which it stays most of the time."""

from __future__ import annotations

import numpy as np

from ssm2edge.signals.ensemble import Array, log_uniform, per_sequence
from ssm2edge.signals.smooth import smooth


def saturated(generator: np.random.Generator, count: int, steps: int, features: int) -> Array:
    """Return smooth noise, amplified, cut off at 0 and 1; gain and offset are each sequence's own."""
    gains = log_uniform(generator, (count, 1, 1), 1.0, 10.0)
    cut: Array = np.clip(gains * (smooth(generator, count, steps, features) - per_sequence(generator, count, -0.5, 1.5)), 0, 1)
    return cut
