"""The smallest budget that is good enough."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from ssm2edge.systems.system import System


def all_states(systems: Mapping[str, System]) -> int:
    """States of all channels of all layers, unreduced."""
    return sum(system.order * system.batch_shape.numel() for system in systems.values())


def smallest_budget(good: Callable[[int], bool], least: int, most: int, unit: int) -> int | None:
    """Find the smallest good budget by bisection, in ratios: small models are quicker to judge than large ones.

    Parameters
    ----------
    good
        Whether a budget is good enough; more states are taken to be better.
    least, most
        Budgets to search between, both included.
    unit
        Budgets closer than this are not told apart.

    Returns
    -------
    int or None
        A good budget whose neighbour below was not good; None if even ``most`` is not good.
    """
    low, high = math.ceil(least / unit), math.ceil(most / unit)
    if good(low * unit):
        return low * unit
    top = high
    while high - low > 1:
        middle = min(max(round(math.sqrt(low * high)), low + 1), high - 1)
        if good(min(middle * unit, most)):
            high = middle
        else:
            low = middle
    # The largest budget is the dearest to judge: only if nothing below it was good enough.
    return min(high * unit, most) if high < top or good(most) else None
