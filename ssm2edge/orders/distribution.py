"""Orders of all layers: uniform ones, and the distribution of a budget that costs least."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssm2edge.systems.division import TINY
from ssm2edge.systems.system import System


def uniform_orders(systems: Mapping[str, System], order: int) -> dict[str, int]:
    """Give every layer the same order; one that has fewer states keeps them all.

    Raises
    ------
    ValueError
        If no layer has so many states, or the order is less than one; the sentence names the largest layer.
    """
    name, largest = max(systems.items(), key=lambda entry: entry[1].order)
    if not 1 <= order <= largest.order:
        raise ValueError(
            f"layer {name} has {largest.order} states per channel: ask for an order from 1 to {largest.order}, not {order}."
        )
    return {name: min(order, system.order) for name, system in systems.items()}


@dataclass(frozen=True)
class CostCurve:
    """Costs of a layer's orders.

    Attributes
    ----------
    orders
        Ascending, the layer's own order last.
    costs
        One for each, not negative; their sum over the layers is to be small.
    """

    orders: tuple[int, ...]
    costs: tuple[float, ...]

    def at_every_order(self) -> NDArray[np.float64]:
        """Return the costs of orders 1, 2, ..., ``orders[-1]``, never rising; their logarithm is linear between those known."""
        falling = np.minimum.accumulate(np.asarray(self.costs, dtype=np.float64))
        floor = max(float(falling[0]) * 1e-12, TINY)
        every = np.arange(1, self.orders[-1] + 1)
        logarithms = np.interp(every, self.orders, np.log(np.maximum(falling, floor)))
        return np.exp(logarithms)


def distribute(curves: Mapping[str, CostCurve], widths: Mapping[str, int], budget: int) -> dict[str, int]:
    """Distribute states over layers so that the sum of costs is smallest: exact, by dynamic programming over the budget.

    Parameters
    ----------
    curves
        Cost by order, by layer.
    widths
        States that one order takes: the channels of the layer.
    budget
        States of all layers together; the rest that stays unused is less than any layer could use.

    Returns
    -------
    dict
        Order by layer, at least one each.

    Raises
    ------
    ValueError
        If the budget does not give every channel one state.
    """
    names = list(curves)
    least = sum(widths[name] for name in names)
    if budget < least:
        raise ValueError(f"{budget} states are fewer than the {least} channels: every channel keeps at least one.")
    unit = math.gcd(*(widths[name] for name in names))
    room = min(budget, sum(widths[name] * curves[name].orders[-1] for name in names)) // unit
    best = np.zeros(room + 1)
    choices = []
    for name in names:
        width, costs = widths[name] // unit, curves[name].at_every_order()
        reached, choice = np.full(room + 1, np.inf), np.zeros(room + 1, dtype=np.int64)
        for order in range(1, min(len(costs), room // width) + 1):
            candidate = best[: room + 1 - width * order] + costs[order - 1]
            there = reached[width * order :]
            better = candidate < there
            there[better] = candidate[better]
            choice[width * order :][better] = order
        choices.append(choice)
        best = reached
    orders: dict[str, int] = {}
    left = room
    for name, choice in zip(reversed(names), reversed(choices), strict=True):
        orders[name] = int(choice[left])
        left -= widths[name] // unit * orders[name]
    return {name: orders[name] for name in names}


def states(orders: Mapping[str, int], widths: Mapping[str, int]) -> int:
    """Count the states of all channels of all layers."""
    return sum(widths[name] * order for name, order in orders.items())
