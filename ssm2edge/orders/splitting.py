"""One budget of bytes for everything: states of the layers and bits of the weights around them, by what each costs the outputs.

Squared changes of the outputs are added, those by layers as if calibrated.  The split that costs least is exact (dynamic
programming); graphs that are written and measured say how large it may be.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ssm2edge.orders.distribution import CostCurve
from ssm2edge.systems.system import System

LOOKS = 10
"""Splits of which graphs are written, at most."""

UNITS = 4096
"""Parts that a budget is cut into, at least."""


@dataclass(frozen=True)
class Level:
    """One way to store a part of the network: its bytes, and the squared change of the outputs, relative."""

    bytes: int
    cost: float


Levels = Mapping[str, Mapping[int, Level]]
"""By part of the network and by order, or number of bits."""

Split = dict[str, int]


def split(parts: Levels, budget: int) -> Split | None:
    """Return a level for each part, so that all costs together are least; None if nothing fits.

    Parameters
    ----------
    parts
        At least one level each.
    budget
        Bytes.
    """
    unit = max(1, budget // UNITS)
    room = budget // unit
    best, choices = np.zeros(room + 1), []
    for levels in parts.values():
        reached, choice = np.full(room + 1, np.inf), np.zeros(room + 1, dtype=np.int64)
        for key, level in levels.items():
            size = -(-level.bytes // unit)
            if size > room:
                continue
            candidate = best[: room + 1 - size] + level.cost
            there = reached[size:]
            better = candidate < there
            there[better] = candidate[better]
            choice[size:][better] = key
        choices.append(choice)
        best = reached
    if not math.isfinite(best[room]):
        return None
    found, left = Split(), room
    for (name, levels), choice in zip(reversed(list(parts.items())), reversed(choices), strict=True):
        found[name] = int(choice[left])
        left -= -(-levels[found[name]].bytes // unit)
    return {name: found[name] for name in parts}


def bytes_of(parts: Levels, chosen: Split) -> int:
    """Return the bytes of a split."""
    return sum(levels[chosen[name]].bytes for name, levels in parts.items())


def cost_of(parts: Levels, chosen: Split) -> float:
    """Return the sum of the costs of a split."""
    return sum(levels[chosen[name]].cost for name, levels in parts.items())


def smallest(parts: Levels) -> Split:
    """Return the split of fewest bytes."""
    return {name: min(levels, key=lambda key: levels[key].bytes) for name, levels in parts.items()}


def largest_split(parts: Levels, limit: int, measured: Callable[[Split], int]) -> Split | None:
    """Return the best split whose graphs fit; None if not even the smallest does.

    Parameters
    ----------
    parts
        Levels, with the bytes of their numbers alone.
    limit
        Bytes of a graph, its nodes included.
    measured
        Bytes of the largest graph of a split.
    """
    found = smallest(parts)
    size = measured(found)
    if size > limit:
        return None
    low, high = bytes_of(parts, found), None
    budget = low + limit - size
    for _ in range(LOOKS):
        tried = split(parts, budget)
        if tried is None:
            break
        guess = budget
        if cost_of(parts, tried) < cost_of(parts, found):
            size = measured(tried)
            # As many bytes as the nodes of these graphs leave.
            guess = bytes_of(parts, tried) + limit - size
            found, low, high = (tried, budget, high) if size <= limit else (found, low, budget)
        else:
            low = budget
        if low < guess and (high is None or guess < high):
            budget = guess
        elif high is not None and high - low > 1:
            budget = (low + high) // 2
        else:
            break
    return found


def layer_levels(curves: Mapping[str, CostCurve], systems: Mapping[str, System], size: float) -> Levels:
    """Return the levels of the layers: bytes by order, and costs relative to the squared size of the outputs.

    Odd orders are left out where there are others: poles of two states are stored together.
    """
    found: dict[str, dict[int, Level]] = {}
    for name, curve in curves.items():
        costs = curve.at_every_order() / size
        each = state_bytes(systems[name])
        orders = [order for order in range(1, len(costs) + 1) if order % 2 == 0 or order in (1, len(costs))]
        found[name] = {order: Level(each * order, float(costs[order - 1])) for order in orders}
    return found


def state_bytes(system: System) -> int:
    """Return the bytes that a state of every channel takes: a pole and an output coefficient of 16 bits, or rows of 8 bits."""
    if system.batch_shape:
        return 4 * system.batch_shape.numel()
    return 8 + system.inputs + system.outputs


def scaled(levels: Levels, factor: float) -> Levels:
    """Return levels with all costs multiplied."""
    return {name: {key: Level(level.bytes, factor * level.cost) for key, level in of.items()} for name, of in levels.items()}
