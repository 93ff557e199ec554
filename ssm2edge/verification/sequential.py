"""Sequential decisions on a ratio and a threshold, with several looks at the data.

After so many pairs of sessions, and again after more of them, the interval of the ratio is compared with the threshold: wholly
above is a regression, wholly below is none, else more pairs are measured.  Every look may err.  Bonferroni's correction divides
the probability of error evenly over all looks and graphs, so that all verdicts of one run together are wrong with at most that
probability, whatever their dependence.
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
    """Outcome of a gate."""

    PASSED = "passed"
    REGRESSION = "regression"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class Decision:
    """Result of the pairs of sessions of one graph.

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
        By graph: logarithms added to the lower and upper end of its interval if the baseline's own figure is uncertain.
    progress
        Called with the name of each measurement.
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
    # An unbounded interval gets an end that no ratio reaches, since JSON cannot express infinity.
    return math.exp(min(max(logarithm, -20.0), 20.0))
