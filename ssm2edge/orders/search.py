"""From the user's request to an order for each layer.

Four ways to ask: an order for all layers, a share of the states, a largest output error, a largest drop of the metric.  The last
three distribute a budget of states over the layers by the effect of each layer's error on the outputs.  The last two also search
the smallest budget, judged by the reductions that would be built.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

from ssm2edge.errors import UserError
from ssm2edge.orders.budget import all_states, smallest_budget
from ssm2edge.orders.choice import Choice
from ssm2edge.orders.distribution import states, uniform_orders
from ssm2edge.orders.judging import Judged, judge_of, measured_error
from ssm2edge.orders.request import Request
from ssm2edge.orders.study import DIRECT, study
from ssm2edge.reduction import Reduction

Progress = Callable[[str], None]

RULE_STEPS = 1 << 15
"""Time steps of the samples on which a layer's cost is measured."""
PROPOSALS = 2
"""Proposed orders for a budget that are reduced by the method asked for: they were compared by a direct one."""
UNIT, COARSE_UNIT = 0.015, 0.05
"""Smallest differences of budgets, as shares of all states: in the end, and while a direct method seeks a place to begin."""
REFINED_SHARE = 0.85
"""Share of the direct method's budget that refined reductions need, roughly."""


class Reducer:
    """Reductions by layer and order, each made once, and calibrated once for each choice of orders.

    Parameters
    ----------
    judged
        Systems, method and horizon.
    """

    def __init__(self, judged: Judged) -> None:
        self._judged = judged
        self.method = judged.method
        self._made: dict[tuple[str, int], Reduction] = {}
        self._calibrated: dict[tuple[tuple[str, int], ...], dict[str, Reduction]] = {}

    def __call__(self, orders: Mapping[str, int]) -> dict[str, Reduction]:
        """Reduce every layer to its order."""
        key = tuple(orders.items())
        if key not in self._calibrated:
            self._calibrated[key] = self._judged.calibrate(self._reduced(orders))
        return self._calibrated[key]

    def _reduced(self, orders: Mapping[str, int]) -> dict[str, Reduction]:
        missing = {name: order for name, order in orders.items() if (name, order) not in self._made}
        systems = {name: self._judged.task.systems[name] for name in missing}
        for name, reduction in self._judged.reduce(systems, missing, self._judged.method, self._judged.task.horizon).items():
            self._made[name, missing[name]] = reduction
        return {name: self._made[name, order] for name, order in orders.items()}


def choose_reductions(request: Request, judged: Judged, progress: Progress) -> dict[str, Reduction]:
    """Choose each layer's order and reduce it.

    Raises
    ------
    UserError
        If no reduction meets the request.
    ValueError
        If the systems cannot be reduced as asked; the sentence says why.
    """
    reducer = Reducer(judged)
    if request.order is not None:
        return reducer(uniform_orders(judged.task.systems, request.order))
    progress("what each layer's error costs")
    widths = {name: system.batch_shape.numel() for name, system in judged.task.systems.items()}
    seen = study(judged.task.network, judged.task.systems, judged.batch(RULE_STEPS), judged.task.horizon)
    choice = Choice(seen, lambda share: progress(f"what each layer's error costs: {share:.0%}"))
    most, least = all_states(judged.task.systems), sum(widths.values())
    if request.keep is not None:
        # The rules looked at a direct method's errors; the reductions that will be built have the last word.
        proposals = [reducer(o) for o in list(choice.proposals(round(request.keep * most)).values())[:PROPOSALS]]
        return min(proposals, key=lambda reductions: measured_error(judged, reductions))
    good, narrowest = judge_of(request, judged), min(widths.values())

    def search(reducer: Reducer, proposals: int, share: float, guess: int | None) -> dict[str, Reduction]:
        verdicts: dict[tuple[int, ...], bool] = {}
        held: dict[int, dict[str, int]] = {}
        preferred: list[str] = []

        def holds(budget: int) -> bool:
            proposed = choice.proposals(budget)
            # Once one rule's orders hold where another's did not, the search follows that rule.
            rules = [rule for rule in proposed if rule in preferred] or list(proposed)[:proposals]
            for rule in rules:
                orders = proposed[rule]
                key = tuple(orders.values())
                if key not in verdicts:
                    progress(
                        f"{states(orders, widths):,} of {most:,} states, orders {', '.join(map(str, key))}, {reducer.method}"
                    )
                    verdicts[key] = good(reducer(orders))
                if verdicts[key]:
                    if rule != rules[0]:
                        preferred.append(rule)
                    held[budget] = orders
                    return True
            return False

        budget = smallest_budget(holds, least, most, math.ceil(share * most / narrowest) * narrowest, guess)
        if budget is None:
            raise UserError(_unreachable(request))
        return reducer(held[budget])

    guess = None
    if judged.method != DIRECT:
        quick = search(Reducer(replace(judged, method=DIRECT)), 1, COARSE_UNIT, None)
        guess = round(REFINED_SHARE * states({name: reduction.order for name, reduction in quick.items()}, widths))
    return search(reducer, PROPOSALS, UNIT, guess)


def _unreachable(request: Request) -> str:
    if request.max_drop is not None:
        return f"Not even the unreduced layers hold a drop of {request.max_drop:g} points; ask for a larger one."
    return f"Not even the unreduced layers hold an error of {request.max_error:g}; ask for a larger one."
