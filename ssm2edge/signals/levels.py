"""Levels that are held and left at random times."""

from __future__ import annotations

import numpy as np

from ssm2edge.signals.ensemble import Array, log_uniform


def levels(generator: np.random.Generator, count: int, steps: int, features: int) -> Array:
    """Return Gaussian levels, each held for a random time whose mean is the sequence's own; all features change at once."""
    rates = 1 / log_uniform(generator, (count, 1), 2.0, max(steps / 2, 4.0))
    changes = generator.random((count, steps)) < rates
    changes[:, 0] = True
    since = np.maximum.accumulate(np.where(changes, np.arange(steps), 0), axis=1)
    drawn = generator.standard_normal((count, steps, features))
    held: Array = np.take_along_axis(drawn, since[:, :, None], axis=1)
    return held
