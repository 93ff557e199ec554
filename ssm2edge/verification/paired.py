"""Upper confidence bounds of losses, from samples that the original and the smaller model both answered.

Right and wrong answers: with b of n samples lost and c gained, the bound of d = P(lost) - P(gained) is the largest d0 that the
score test does not refuse (Tango, Statistics in Medicine 17, 1998), with half a sample as continuity correction:

    (b - c - n d0 + 1/2) / sqrt(n (2 q + d0 (1 - d0))) = -z        q the likeliest P(gained) where the difference is d0

Everything else is a mean over samples, with the studentised bootstrap: its quantities are linearised at the samples' means.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from ssm2edge.verification.check import Array
from ssm2edge.verification.interval import bootstrap_t

STEPS = 60
"""Bisections: below the spacing of floating-point numbers."""
FEW = 10
"""Found by simulation: without it, bounds of errors of 20 samples cover in 90 % of the cases where 95 % are asked for."""

MANY = 1000
"""Samples above which the bootstrap costs memory and shows nothing new."""
MOST = 1 << 40
"""Samples beyond which nobody counts."""


@dataclass(frozen=True)
class Evidence:
    """Evidence of paired samples on a loss, in points (hundredths of accuracy, NRMSE or error).

    Attributes
    ----------
    loss
        On the samples.
    bound
        Upper bound with the confidence asked for.
    samples
        Their number.
    counts
        Samples lost and gained; None where the loss is no count.
    """

    loss: float
    bound: float
    samples: int
    counts: tuple[int, int] | None = None

    def needed(self, limit: float, confidence: float) -> int | None:
        """Return the number of samples that would show the same loss to stay within a limit; None if none would."""
        if self.loss >= limit:
            return None
        if self.counts is None:
            return math.ceil(self.samples * max(1.0, ((self.bound - self.loss) / (limit - self.loss)) ** 2))
        lost, gained = (count / self.samples for count in self.counts)
        return fewest(lambda n: 100 * score_bound(lost * n, gained * n, n, confidence) <= limit)


def score_bound(lost: float, gained: float, samples: int, confidence: float) -> float:
    """Return the upper bound of the share of samples lost less that of samples gained."""
    z = NormalDist().inv_cdf(confidence)
    low, high = (lost - gained) / samples, 1.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        half = (2 * samples - lost + gained) * middle - lost - gained
        root = math.sqrt(max(half * half + 8 * samples * gained * middle * (1 - middle), 0.0))
        variance = samples * (2 * max(root - half, 0.0) / (4 * samples) + middle * (1 - middle))
        if lost - gained - samples * middle + 0.5 > -z * math.sqrt(max(variance, 0.0)):
            low = middle
        else:
            high = middle
    return high


def fewest(shown: Callable[[int], bool]) -> int | None:
    """Return the smallest number of samples that shows something; more samples show it, too."""
    high = 1
    while not shown(high):
        high *= 2
        if high > MOST:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if shown(middle) else (middle, high)
    return high


def fewest_samples(limit: float, confidence: float) -> int | None:
    """Return the number of samples below which not even a model of the same answers is shown to lose at most ``limit`` points."""
    return fewest(lambda n: 100 * score_bound(0, 0, n, confidence) <= limit)


def lost_answers(before: Array, after: Array, confidence: float) -> Evidence:
    """Return what right answers before and after show of the loss of accuracy.

    Parameters
    ----------
    before, after
        True where the answer is right: ``[samples]``, or ``[samples, steps]``, whose steps depend on each other.
    confidence
        Probability that the bound covers the loss.
    """
    count = len(before)
    losses = (before.astype(np.float64) - after).reshape(count, -1).mean(axis=1)
    loss = 100 * float(losses.mean())
    if before.ndim == 1:
        lost, gained = int(np.sum(losses > 0)), int(np.sum(losses < 0))
        return Evidence(loss, 100 * score_bound(lost, gained, count, confidence), count, (lost, gained))
    # What no sample shows may still happen to one of many.
    unseen = 1 - (1 - confidence) ** (1 / count)
    return Evidence(loss, 100 * max(_above(losses, confidence), unseen), count)


def risen_error(before: Array, after: Array, truth: Array, scale: float, confidence: float) -> Evidence:
    """Return what predictions before and after show of the rise of the NRMSE; ``scale`` is the size of the truth."""
    squares = [_squares(answers, truth) for answers in (before, after)]
    roots = [math.sqrt(float(each.mean())) for each in squares]
    influence = [each / (2 * root) if root > 0 else each for each, root in zip(squares, roots, strict=True)]
    difference = influence[1] - influence[0]
    spread = _widened(_above(difference, confidence) - float(difference.mean()), len(difference))
    rise = 100 * (roots[1] - roots[0]) / scale
    return Evidence(rise, rise + 100 * spread / scale, len(difference))


def relative_error(original: Array, answers: Array, confidence: float) -> Evidence:
    """Return what answers show of their error relative to the original's answers, root mean square, in hundredths."""
    errors, sizes = _squares(answers, original), _squares(original, np.zeros_like(original))
    size = float(sizes.mean()) or 1.0
    share = float(errors.mean()) / size
    highest = max(0.0, share + _widened(_above((errors - share * sizes) / size, confidence), len(errors)))
    return Evidence(100 * math.sqrt(share), 100 * math.sqrt(highest), len(errors))


def root_mean_square_error(original: Array, answers: Array) -> float:
    """Return the error of answers relative to the original's, root mean square over all samples."""
    return relative_error(original, answers, 0.5).loss / 100


def _squares(answers: Array, truth: Array) -> Array:
    """Return the mean square of each sample's error."""
    squares: Array = np.square(answers.astype(np.float64) - truth).reshape(len(truth), -1).mean(axis=1)
    return squares


def _widened(spread: float, count: int) -> float:
    """Return the distance of a bound for a ratio of few figures, whose spread is known no better than its value."""
    return spread * (1 + FEW / count)


def _above(values: Array, confidence: float) -> float:
    """Return the upper bound of a mean; means of many values are normal."""
    if len(values) > MANY:
        return float(values.mean() + NormalDist().inv_cdf(confidence) * values.std() / math.sqrt(len(values)))
    return bootstrap_t(values, 2 * confidence - 1).high
