"""A confidence interval for the mean of few independent figures, without an assumption about their distribution."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 20000


@dataclass(frozen=True)
class Interval:
    """A mean and its interval."""

    mean: float
    low: float
    high: float


def bootstrap_t(values: NDArray[np.float64], confidence: float, seed: int = 0) -> Interval:
    """Return the studentised bootstrap interval (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 12.5).

    The percentile bootstrap of ten figures is too narrow by a third in the tails; here every resample is scaled by its own
    standard error, as in Student's t.

    Parameters
    ----------
    values
        ``[count]`` independent figures.
    confidence
        Probability that the interval covers the mean, less than 1.
    seed
        Of the resamples.

    Returns
    -------
    Interval
        Unbounded with fewer than three figures.
    """
    count = len(values)
    mean = float(np.mean(values))
    if count < 3:
        return Interval(mean, -math.inf, math.inf)
    error = float(np.std(values, ddof=1)) / math.sqrt(count)
    if error == 0.0:
        return Interval(mean, mean, mean)
    picks = np.random.default_rng(seed).integers(0, count, size=(RESAMPLES, count))
    drawn = values[picks]
    errors = np.std(drawn, axis=1, ddof=1) / math.sqrt(count)
    # A resample of a single figure has no spread: it counts as infinitely far on its side.
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = np.nan_to_num((drawn.mean(axis=1) - mean) / errors, nan=0.0, posinf=np.inf, neginf=-np.inf)
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(scores, [tail, 1.0 - tail], method="inverted_cdf")
    return Interval(mean, mean - float(high) * error, mean - float(low) * error)
