"""The contract of an ensemble, and the draws that several share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

Ensemble = Callable[[np.random.Generator, int, int, int], Array]
"""Returns random sequences ``(count, steps, features)`` float64 from a generator; their level and scale are free."""

LEAST = 1e-12
"""Deviation below which a sequence counts as constant."""


def per_sequence(generator: np.random.Generator, count: int, low: float, high: float) -> Array:
    """Return one number a sequence, ``(count, 1, 1)``, even between the limits."""
    return generator.uniform(low, high, (count, 1, 1))


def log_uniform(generator: np.random.Generator, shape: tuple[int, ...], low: float, high: float) -> Array:
    """Return numbers whose logarithms are even between those of the limits."""
    drawn: Array = np.exp(generator.uniform(np.log(low), np.log(high), shape))
    return drawn


def of_unit_size(sequences: Array) -> Array:
    """Return sequences whose root mean square, each over time and features, is one."""
    size = np.sqrt(np.mean(np.square(sequences), axis=(1, 2), keepdims=True))
    scaled: Array = sequences / np.maximum(size, LEAST)
    return scaled


def filtered(sequences: Array, gains: Array, axis: int) -> Array:
    """Return sequences with the gains, ``(count, frequencies)``, on the frequencies of one axis (1 time, 2 features)."""
    shape = [len(gains), 1, 1]
    shape[axis] = gains.shape[1]
    spectrum = np.fft.rfft(sequences, axis=axis) * gains.reshape(shape)
    back: Array = np.fft.irfft(spectrum, n=sequences.shape[axis], axis=axis)
    return back
