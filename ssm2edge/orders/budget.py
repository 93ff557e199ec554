"""The smallest budget that is good enough."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from ssm2edge.systems.system import System

STEP = 1.25
"""Ratio of the budgets judged next to a guess."""


def all_states(systems: Mapping[str, System]) -> int:
    """Count the states of all channels of all layers, unreduced."""
    return sum(system.order * system.batch_shape.numel() for system in systems.values())


def smallest_budget(good: Callable[[int], bool], least: int, most: int, unit: int, guess: int | None = None) -> int | None:
    """Find the smallest good budget by bisection, in ratios: small models are quicker to judge than large ones.

    Parameters
    ----------
    good
        Returns whether a budget is good enough; more states are taken to be better.
    least, most
        Budgets to search between, both included.
    unit
        Budgets closer than this count as one.
    guess
        First budget to judge, followed by steps of ``STEP`` up or down; budgets far above the answer need then not be judged.

    Returns
    -------
    int or None
        A good budget whose neighbour below was not good; None if even ``most`` is not good.
    """
    # Units known to be too few, and to be enough; one below the least and one above the most are known of nothing yet.
    first, last = math.ceil(least / unit), math.ceil(most / unit)
    low, high = first - 1, last + 1
    place = first if guess is None else min(max(round(guess / unit), first), last)
    while high - low > 1:
        if good(min(place * unit, most)):
            high = place
        else:
            low = place
        if guess is not None and high > last:
            place = min(max(round(low * STEP), low + 1), last)
        elif guess is not None and low < first:
            place = max(min(round(high / STEP), high - 1), first)
        else:
            # The largest budget is the dearest to judge: only if nothing below it was good enough.
            between = round(math.sqrt(low * min(high, last)))
            place = min(max(between, low + 1), max(min(high, last) - 1, low + 1))
    return min(high * unit, most) if high <= last else None
