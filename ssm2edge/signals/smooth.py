"""Gaussian noise smoothed along time and along features."""

from __future__ import annotations

import numpy as np

from ssm2edge.signals.ensemble import Array, filtered, log_uniform, of_unit_size

LONGEST = {1: 16.0, 2: 4.0}
"""Largest widths of the smoothing, in steps of time and in features."""
SHORTEST = 0.25
"""Smallest width: hardly any."""


def smooth(generator: np.random.Generator, count: int, steps: int, features: int) -> Array:
    """Return noise behind Gaussian windows, of random widths that are each sequence's own."""
    noise = generator.standard_normal((count, steps, features))
    for axis, size in ((1, steps), (2, features)):
        frequencies = 2 * np.pi * np.arange(size // 2 + 1) / size
        widths = log_uniform(generator, (count, 1), SHORTEST, LONGEST[axis])
        noise = filtered(noise, np.exp(-0.5 * (widths * frequencies) ** 2), axis)
    return of_unit_size(noise)
