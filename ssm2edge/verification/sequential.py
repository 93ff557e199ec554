"""Deciding whether a ratio is above a threshold, while looking at the data more than once.

After so many pairs of sessions, and again after more of them, the interval of the ratio is compared with the threshold: wholly
above is a regression, wholly below is none, else more pairs are measured.  Every look is a chance to err; Bonferroni's
correction shares the probability of error out evenly over all looks and all graphs, so that all verdicts of one run together are
wrong with at most that probability, however they depend on each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from ssm2edge.verification.interval import Interval, bootstrap_t
from ssm2edge.verification.sessions import PairOfSessions


class Outcome(Enum):
    """What a gate says."""

    PASSED = "passed"
    REGRESSION = "regression"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class Decision:
    """What the pairs of sessions of one graph showed.

    Attributes
    ----------
    outcome
        Of the comparison with the threshold.
    ratio, low, high
        Candidate over baseline, and its interval at the last look.
    baseline, candidate
        Median seconds of one call over the sessions.
    sessions
        Pairs of sessions measured.
    """

    outcome: Outcome
    ratio: float
    low: float
    high: float
    baseline: float
    candidate: float
    sessions: int


def decide(
    measure: Mapping[str, Callable[[], PairOfSessions]],
    threshold: Mapping[str, float],
    looks: Sequence[int],
    confidence: float,
    widening: Mapping[str, tuple[float, float]] | None = None,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Decision]:
    """Measure pairs of sessions of every graph until each is decided, or the looks are used up.

    Parameters
    ----------
    measure
        By graph: builds and times one pair of sessions.
    threshold
        By graph: the largest ratio that is no regression.
    looks
        Pairs of sessions after which to look, growing.
    confidence
        Probability that no verdict of this call errs.
    widening
        By graph: logarithms added to the lower and upper end of its interval, where the baseline's own figure is uncertain.
    progress
        Called with what is being measured.
    """
    level = 1.0 - (1.0 - confidence) / (len(looks) * len(measure))
    pairs: dict[str, list[PairOfSessions]] = {name: [] for name in measure}
    decisions: dict[str, Decision] = {}
    for look in looks:
        open_graphs = [name for name in measure if name not in decisions or decisions[name].outcome is Outcome.INCONCLUSIVE]
        # Graphs take turns, so that a busy minute falls on all of them.
        while waiting := [name for name in open_graphs if len(pairs[name]) < look]:
            for name in waiting:
                if progress is not None:
                    progress(f"{name}, pair {len(pairs[name]) + 1} of sessions")
                pairs[name].append(measure[name]())
        for name in open_graphs:
            interval = bootstrap_t(np.array([pair.logarithm for pair in pairs[name]]), level)
            decisions[name] = _decision(interval, (widening or {}).get(name, (0.0, 0.0)), threshold[name], pairs[name])
    return decisions


def _decision(interval: Interval, widening: tuple[float, float], threshold: float, pairs: Sequence[PairOfSessions]) -> Decision:
    low, high = _exponential(interval.low + widening[0]), _exponential(interval.high + widening[1])
    if low > threshold:
        outcome = Outcome.REGRESSION
    elif high < threshold:
        outcome = Outcome.PASSED
    else:
        outcome = Outcome.INCONCLUSIVE
    return Decision(
        outcome,
        math.exp(interval.mean),
        low,
        high,
        float(np.median([pair.baseline for pair in pairs])),
        float(np.median([pair.candidate for pair in pairs])),
        len(pairs),
    )


def _exponential(logarithm: float) -> float:
    # An interval without end is told as one that no ratio reaches, since JSON has no word for infinity.
    return math.exp(min(max(logarithm, -20.0), 20.0))
