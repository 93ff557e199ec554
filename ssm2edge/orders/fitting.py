"""The largest model that a device can hold: whatever fits, the one that loses least."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from ssm2edge.errors import UserError
from ssm2edge.orders.judging import Judged, measured_error
from ssm2edge.orders.request import Request
from ssm2edge.orders.study import DIRECT
from ssm2edge.reduction import Reduction

Progress = Callable[[str], None]
Orders = Mapping[str, int]

LATENCY_SHARE = 0.95
"""Share of the largest latency up to which orders are tried: the artifact is timed again."""


def largest_fitting(
    request: Request,
    judged: Judged,
    budgets: list[int],
    proposals: Callable[[int], list[dict[str, int]]],
    reduced: Callable[[Orders], dict[str, Reduction]],
    quick: Callable[[Judged], Callable[[Orders], dict[str, Reduction]]],
    progress: Progress,
) -> dict[str, Reduction]:
    """Return the reductions of the largest budget that fits.

    Parameters
    ----------
    request
        With a largest number of bytes, of a graph or of RAM, or a largest latency.
    judged
        With what measures the cost.
    budgets
        States of all layers, ascending; the last one leaves everything as it is.
    proposals
        Orders for a budget, the most promising first.
    reduced, quick
        Reductions as the build makes them, and those whose graphs cost the same and are made at once.

    Raises
    ------
    UserError
        If not even the smallest model fits; the sentence says what it costs.
    """
    assert judged.cost is not None
    limit = largest_cost(request)
    direct = quick(replace(judged, method=DIRECT))
    costs: dict[tuple[int, ...], float] = {}

    def cost(orders: Orders) -> float:
        key = tuple(orders.values())
        if key not in costs:
            progress(f"orders {', '.join(map(str, key))}: what the graphs cost")
            costs[key] = judged.cost(direct(orders)) if judged.cost is not None else 0.0
        return costs[key]

    low, high = -1, len(budgets)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if cost(proposals(budgets[middle])[0]) <= limit else (low, middle)
    if low < 0:
        raise UserError(out_of_reach(request, cost(proposals(budgets[0])[0])))
    fitting = [orders for orders in proposals(budgets[low]) if cost(orders) <= limit]
    return min((reduced(orders) for orders in fitting), key=lambda reductions: measured_error(judged, reductions))


def largest_cost(request: Request) -> float:
    """Return the bytes, or the microseconds, up to which orders are tried."""
    size = request.max_bytes if request.max_bytes is not None else request.max_ram
    return float(size) if size is not None else LATENCY_SHARE * float(request.max_latency or 0)


def out_of_reach(request: Request, smallest: float) -> str:
    """Return the sentence that no model fits, with what can be reached."""
    if request.max_bytes is not None:
        return (
            f"No graph fits into {request.max_bytes:,} bytes: with one state a channel the largest has {smallest:,.0f}; ask for "
            "that, or shrink the rest of the network."
        )
    if request.max_ram is not None:
        return (
            f"No stream runs in {request.max_ram:,} bytes of RAM as C: with one state a channel it takes {smallest:,.0f}; ask "
            "for that, or shrink the rest of the network."
        )
    return (
        f"No step takes at most {request.max_latency:g} microseconds here: with one state a channel it takes {smallest:.3g}; ask "
        "for more, or shrink the rest of the network."
    )
