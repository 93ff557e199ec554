"""Oscillations that are struck at random times and die away."""

from __future__ import annotations

import numpy as np

from ssm2edge.signals.ensemble import Array, log_uniform, of_unit_size, per_sequence

DENSEST = 0.1
"""Largest share of the steps at which something is struck."""


def transients(generator: np.random.Generator, count: int, steps: int, features: int) -> Array:
    """Return decaying oscillations; decay, frequency and density are each sequence's own, the strikes each feature's."""
    struck = generator.random((count, steps, features)) < per_sequence(generator, count, min(1 / steps, DENSEST), DENSEST)
    strikes = generator.standard_normal((count, steps, features)) * struck
    times = np.arange(steps)
    decay = log_uniform(generator, (count, 1), 2.0, max(steps / 4, 4.0))
    frequency = generator.uniform(0, np.pi, (count, 1)) * (generator.random((count, 1)) < 0.5)
    response = np.exp(-times / decay) * np.cos(frequency * times)
    spectrum = np.fft.rfft(strikes, n=2 * steps, axis=1) * np.fft.rfft(response, n=2 * steps, axis=1)[:, :, None]
    return of_unit_size(np.fft.irfft(spectrum, n=2 * steps, axis=1)[:, :steps])
