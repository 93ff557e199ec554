"""Sums of a few sinusoids that glide."""

from __future__ import annotations

import numpy as np

from ssm2edge.signals.ensemble import Array, log_uniform, of_unit_size

PARTS = 3


def tones(generator: np.random.Generator, count: int, steps: int, features: int) -> Array:
    """Return sums of sinusoids whose frequencies move along time; every feature hears them with its own amplitude and phase."""
    times = np.arange(steps) / steps
    total = np.zeros((count, steps, features))
    for _ in range(PARTS):
        first, last = (log_uniform(generator, (count, 1), 0.5, max(steps / 2, 1.0)) for _ in range(2))
        turns = first * times + (last - first) * times**2 / 2
        phases = generator.random((count, 1, features))
        total += generator.standard_normal((count, 1, features)) * np.sin(2 * np.pi * (turns[:, :, None] + phases))
    return of_unit_size(total)
