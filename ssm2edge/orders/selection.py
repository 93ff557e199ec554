"""The smallest model that is shown to lose no more than it may, on samples that nothing else is judged by.

Sizes stand on a ladder, and more states lose less.  The search therefore tests a sequence of sizes that is fixed beforehand, each
at the whole confidence, and stops at the first that is not shown to hold: whatever it chooses is wrong only if the largest size
that does not hold passes its test (closed testing of nested hypotheses; Marcus, Peritz and Gabriel, Biometrika 63, 1976).  The
first sequence goes down from an eighth of the states.  Where that does not hold, a second one goes down from the top; the two
share the probability of a mistake.  The ladder and the models on it depend on no label of these samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ssm2edge.orders.budget import STEP, all_states
from ssm2edge.systems.system import System
from ssm2edge.verification.paired import Evidence

START = 1 / 8
"""Share of the states from which the search goes down: few lose much there once matched on samples."""
FIRST = 0.8
"""Part of the probability of a mistake that the first sequence may use up."""


@dataclass(frozen=True)
class Selection:
    """A chosen size and what speaks for it.

    Attributes
    ----------
    size
        States of all layers; None where no size of the ladder is shown to hold.
    evidence
        By size, for every size that was looked at.
    limit
        Largest loss, in points.
    confidence
        For the chosen size.
    each
        Confidence of the looks of the sequence that chose.
    """

    size: int | None
    evidence: dict[int, Evidence]
    limit: float
    confidence: float
    each: float

    @property
    def wanting(self) -> tuple[int, int] | None:
        """The smallest size that holds on the samples and is not shown to, and the number of samples that might show it."""
        for size, seen in sorted(self.evidence.items()):
            if (self.size is None or size < self.size) and (needed := seen.needed(self.limit, self.each)) is not None:
                return size, needed
        return None


def ladder(least: int, most: int, unit: int) -> list[int]:
    """Return budgets below ``most``, multiples of ``unit`` in steps of about one and a half, one of them near the start."""
    rungs, budget = [], least
    while budget < most:
        rungs.append(budget)
        budget = max(budget + unit, round(budget * STEP / unit) * unit)
    return rungs[start_of(rungs, most) % 2 :: 2]


def start_of(rungs: Sequence[int], most: int) -> int:
    """Return the place of the size nearest to an eighth of all states."""
    return min(range(len(rungs)), key=lambda place: abs(math.log(rungs[place] / (START * most))), default=0)


def ladder_of(systems: Mapping[str, System]) -> list[int]:
    """Return the budgets of a network's layers that are worth a look."""
    widths = [system.batch_shape.numel() for system in systems.values()]
    return ladder(sum(widths), all_states(systems), min(widths))


def confidence_down(confidence: float) -> float:
    """Return the confidence of the looks from the start down."""
    return 1 - FIRST * (1 - confidence)


def confidence_from_top(confidence: float) -> float:
    """Return the confidence of the looks from the top down."""
    return 1 - (1 - FIRST) * (1 - confidence)


def select(
    rungs: Sequence[int], start: int, evidence: Callable[[int, float], Evidence], limit: float, confidence: float
) -> Selection:
    """Choose the smallest size whose loss is shown to stay within the limit.

    Parameters
    ----------
    rungs
        Sizes, ascending.
    start
        Place of the size that is looked at first.
    evidence
        What the samples show of the loss of a size, with a confidence.
    limit
        Largest loss.
    confidence
        Probability that the loss of the chosen size stays within the limit.
    """
    seen: dict[int, Evidence] = {}

    def lowest(places: Sequence[int], each: float) -> int | None:
        chosen = None
        for place in places:
            seen[rungs[place]] = evidence(rungs[place], each)
            if seen[rungs[place]].bound > limit:
                break
            chosen = rungs[place]
        return chosen

    each = confidence_down(confidence)
    size = lowest(range(start, -1, -1), each) if rungs else None
    if size is None and rungs[start + 1 :]:
        each = confidence_from_top(confidence)
        size = lowest(range(len(rungs) - 1, start, -1), each)
    return Selection(size, seen, limit, confidence, each)
