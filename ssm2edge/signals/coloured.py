"""Noise with a power spectrum that falls, along time and along features."""

from __future__ import annotations

import numpy as np

from ssm2edge.signals.ensemble import Array, filtered, of_unit_size, per_sequence

STEEPEST = 2.0
"""Largest exponent of the power spectrum 1 / f^a: a random walk's."""


def coloured(generator: np.random.Generator, count: int, steps: int, features: int) -> Array:
    """Return noise of spectrum 1 / f^a along time and 1 / f^b along features, a and b of every sequence random."""
    noise = generator.standard_normal((count, steps, features))
    for axis, size in ((1, steps), (2, features)):
        frequencies = np.maximum(np.arange(size // 2 + 1), 0.5) / size
        exponents = per_sequence(generator, count, 0.0, STEEPEST)[:, :, 0]
        noise = filtered(noise, frequencies ** (-exponents / 2), axis)
    return of_unit_size(noise)
