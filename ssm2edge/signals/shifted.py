"""Smooth noise of random loudness on a random level."""

from __future__ import annotations

import numpy as np

from ssm2edge.signals.ensemble import Array, log_uniform
from ssm2edge.signals.smooth import smooth

LOUDEST = 2.0
OFFSET = 0.5
"""Deviation of the level, relative to that of the noise."""


def shifted(generator: np.random.Generator, count: int, steps: int, features: int) -> Array:
    """Return smooth noise with a gain of each sequence's own, and an offset of each of its features."""
    gains = log_uniform(generator, (count, 1, 1), 1 / LOUDEST, LOUDEST)
    moved: Array = gains * smooth(generator, count, steps, features) + OFFSET * generator.standard_normal((count, 1, features))
    return moved
