"""The smallest model that is shown to lose no more than it may, on samples that nothing else is judged by.

Sizes stand on a ladder of fixed ratios.  Bisection looks at few of them, at most ceil(log2(sizes + 1)), and shares the allowed
probability of a mistake among these looks (Bonferroni), so that the confidence holds for whatever size is chosen.  The ladder and
the models on it depend on no label of these samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ssm2edge.orders.budget import STEP, all_states
from ssm2edge.systems.system import System
from ssm2edge.verification.paired import Evidence


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
        Confidence of every single look.
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
    """Return budgets from ``least`` on, each about 1.25 times the one before and a multiple of ``unit``, below ``most``."""
    rungs, budget = [], least
    while budget < most:
        rungs.append(budget)
        budget = max(budget + unit, round(budget * STEP / unit) * unit)
    return rungs


def ladder_of(systems: Mapping[str, System]) -> list[int]:
    """Return the budgets of a network's layers that are worth a look."""
    widths = [system.batch_shape.numel() for system in systems.values()]
    return ladder(sum(widths), all_states(systems), min(widths))


def looks(rungs: int) -> int:
    """Return the largest number of sizes that are looked at."""
    return max(1, math.ceil(math.log2(rungs + 1)))


def confidence_of_each(rungs: int, confidence: float) -> float:
    """Return the confidence of every look, so that all together have the one asked for."""
    return 1 - (1 - confidence) / looks(rungs)


def select(rungs: Sequence[int], evidence: Callable[[int, float], Evidence], limit: float, confidence: float) -> Selection:
    """Choose the smallest size whose loss is shown to stay within the limit, by bisection.

    Parameters
    ----------
    rungs
        Sizes, ascending.
    evidence
        What the samples show of the loss of a size, with a confidence.
    limit
        Largest loss.
    confidence
        Probability that the loss of the chosen size stays within the limit.
    """
    each = confidence_of_each(len(rungs), confidence)
    seen: dict[int, Evidence] = {}
    low, high = -1, len(rungs)
    while high - low > 1:
        middle = (low + high) // 2
        seen[rungs[middle]] = evidence(rungs[middle], each)
        low, high = (low, middle) if seen[rungs[middle]].bound <= limit else (middle, high)
    return Selection(rungs[high] if high < len(rungs) else None, seen, limit, confidence, each)
