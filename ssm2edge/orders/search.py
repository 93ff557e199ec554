"""From the user's request to an order for each layer.

An order for all layers, a share of the states, or a limit to hold: a largest output error, its bound, a largest drop of the
metric.  All but the first distribute a budget of states over the layers by the effect of each layer's error on the outputs.
Limits search the smallest budget that holds them, judged by the models that would be built.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

from ssm2edge.errors import UserError
from ssm2edge.orders.budget import all_states, smallest_budget
from ssm2edge.orders.choice import Choice
from ssm2edge.orders.distribution import states, uniform_orders
from ssm2edge.orders.fitting import largest_fitting
from ssm2edge.orders.judging import Judged, bound_holds, drop_shown, error_shown, measured_error
from ssm2edge.orders.request import Request
from ssm2edge.orders.selection import Selection, ladder_of, select, start_of
from ssm2edge.orders.study import DIRECT, study
from ssm2edge.reduction import Reduction
from ssm2edge.verification.paired import Evidence

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
        """Reduce every layer to its order, and calibrate quickly."""
        key = tuple(orders.items())
        if key not in self._calibrated:
            self._calibrated[key] = self._judged.calibrate(self.plain(orders))
        return self._calibrated[key]

    def plain(self, orders: Mapping[str, int]) -> dict[str, Reduction]:
        """Reduce every layer to its order."""
        missing = {name: order for name, order in orders.items() if (name, order) not in self._made}
        systems = {name: self._judged.task.systems[name] for name in missing}
        for name, reduction in self._judged.reduce(systems, missing, self._judged.method, self._judged.task.horizon).items():
            self._made[name, missing[name]] = reduction
        return {name: self._made[name, order] for name, order in orders.items()}


class Candidates:
    """The model of each size, whatever it is then judged by: orders proposed by rules, compared on unlabelled samples.

    Parameters
    ----------
    judged
        Task, method and calibration.
    progress
        Called with what is done.
    """

    def __init__(self, judged: Judged, progress: Progress) -> None:
        progress("what each layer's error costs")
        task = judged.task
        seen = study(task.network, task.systems, judged.batch(RULE_STEPS), task.horizon)
        self.choice = Choice(seen, lambda share: progress(f"what each layer's error costs: {share:.0%}"))
        self.widths = {name: system.batch_shape.numel() for name, system in task.systems.items()}
        self.most, self.least = all_states(task.systems), sum(self.widths.values())
        self.rungs = ladder_of(task.systems)
        self.reducer = Reducer(judged)
        self._judged = judged

    def orders(self, budget: int) -> dict[str, int]:
        """Return the proposal whose reductions err least: proposals were compared by a direct method."""
        proposals = list(self.choice.proposals(budget).values())[:PROPOSALS]
        if len(proposals) == 1:
            return proposals[0]
        return min(proposals, key=lambda orders: measured_error(self._judged, self.reducer(orders)))

    def fitting(self, request: Request, progress: Progress) -> dict[str, Reduction]:
        """Return the largest reductions whose graphs fit."""
        # Bytes are the same in every measurement; times are not, and need not be told apart so finely.
        every = range(self.least, self.most, min(self.widths.values()))
        budgets = [*(self.rungs if request.max_latency is not None else every), self.most]
        return largest_fitting(
            request,
            self._judged,
            budgets,
            lambda budget: list(self.choice.proposals(budget).values())[:PROPOSALS],
            self.reducer,
            lambda direct: Reducer(direct).plain,
            progress,
        )


def choose_reductions(request: Request, judged: Judged, progress: Progress) -> tuple[dict[str, Reduction], Selection | None]:
    """Choose each layer's order and reduce it.

    Returns
    -------
    dict
        Reductions by layer.
    Selection or None
        What speaks for the size, where samples chose it.

    Raises
    ------
    UserError
        If no reduction meets the request.
    ValueError
        If the systems cannot be reduced as asked; the sentence says why.
    """
    if request.order is not None:
        return Reducer(judged)(uniform_orders(judged.task.systems, request.order)), None
    candidates = Candidates(judged, progress)
    if request.keep is not None:
        return candidates.reducer(candidates.orders(round(request.keep * candidates.most))), None
    if judged.cost is not None:
        return candidates.fitting(request, progress), None
    if request.max_drop is None and request.max_error_of == "bound":
        return _bounded(request, judged, candidates, progress), None
    rungs, evidence = candidates.rungs, _evidence(request, judged, candidates, progress)
    selection = select(rungs, start_of(rungs, candidates.most), evidence, limit_of(request), request.confidence)
    systems = judged.task.systems
    own = {name: system.order for name, system in systems.items()}
    return candidates.reducer.plain(own if selection.size is None else candidates.orders(selection.size)), selection


def limit_of(request: Request) -> float:
    """Return the largest loss, in points or hundredths of the outputs."""
    if request.max_drop is not None:
        return request.max_drop
    assert request.max_error is not None
    return 100 * request.max_error


def _evidence(request: Request, judged: Judged, candidates: Candidates, progress: Progress) -> Callable[[int, float], Evidence]:
    def evidence(budget: int, confidence: float) -> Evidence:
        orders = candidates.orders(budget)
        progress(f"{budget:,} of {candidates.most:,} states, orders {', '.join(map(str, orders.values()))}")
        answers = judged.answers(candidates.reducer.plain(orders))
        if request.max_drop is None:
            return error_shown(judged.original, answers, confidence)
        return drop_shown(judged.task.samples.validation_labels, judged.original, answers, confidence)

    return evidence


def _bounded(request: Request, judged: Judged, candidates: Candidates, progress: Progress) -> dict[str, Reduction]:
    """Return the smallest reductions whose bound holds; the bound needs no samples to be shown on."""
    assert request.max_error is not None
    good = bound_holds(judged, request.max_error)
    least, most, widths = candidates.least, candidates.most, candidates.widths
    narrowest = min(widths.values())

    def search(reducer: Reducer, proposals: int, share: float, guess: int | None) -> dict[str, Reduction]:
        verdicts: dict[tuple[int, ...], bool] = {}
        held: dict[int, dict[str, int]] = {}
        preferred: list[str] = []

        def holds(budget: int) -> bool:
            proposed = candidates.choice.proposals(budget)
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
            raise UserError(f"Not even the unreduced layers hold an error of {request.max_error:g}; ask for a larger one.")
        return reducer(held[budget])

    guess = None
    if judged.method != DIRECT:
        quick = search(Reducer(replace(judged, method=DIRECT)), 1, COARSE_UNIT, None)
        guess = round(REFINED_SHARE * states({name: reduction.order for name, reduction in quick.items()}, widths))
    return search(candidates.reducer, PROPOSALS, UNIT, guess)
