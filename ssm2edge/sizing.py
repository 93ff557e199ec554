"""How small the model becomes: from what the user asked for to an order for each layer.

Four ways to ask: an order for all layers, a share of the states, a largest output error, a largest drop of the metric.  The last
three distribute a budget of states over the layers by what each layer's error does to the outputs; the last two also search the
smallest budget, and judge it by the reductions that would be built.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ssm2edge.allocation import DIRECT, Choice, all_states, smallest_budget, study
from ssm2edge.bounds import Bound, BoundError, Network, NetworkGains, network_bound, observe
from ssm2edge.errors import UserError
from ssm2edge.layers import replace_layers
from ssm2edge.recording import record_outputs
from ssm2edge.reduction import Reduction
from ssm2edge.reduction.layerwise import reduce_layers
from ssm2edge.reduction.orders import states, uniform_orders
from ssm2edge.systems.system import System
from ssm2edge.verification.nrmse import normalised_error

Array = NDArray[np.generic]
Progress = Callable[[str], None]

RULE_STEPS = 1 << 15
"""Time steps of the samples on which a layer's cost is measured."""
ERROR_STEPS = 1 << 17
"""Time steps of the samples on which the output error is measured."""
PROPOSALS = 2
"""Proposed orders for a budget that are reduced by the method asked for: they were compared by a direct one."""
UNIT, COARSE_UNIT = 0.015, 0.05
"""Shares of all states by which budgets are told apart, in the end and while a direct method looks for a place to begin."""
REFINED_SHARE = 0.85
"""Share of the direct method's budget that refined reductions need, roughly."""
AT_ONCE = 128
"""Samples judged at once while the metric is measured: enough to be quick, few enough to stop early."""

BOUND_STEPS = 1 << 16
"""Time steps of the samples on which the constants of the output bound are observed."""


@dataclass(frozen=True)
class Request:
    """What the user asked for; exactly one of the four is not None.

    Attributes
    ----------
    order
        States per channel, the same in every layer.
    keep
        Share of all states to keep.
    max_error
        Largest relative error of the outputs.
    max_drop
        Largest drop of the held-out metric, in points.
    max_error_of
        ``measured``: the error on calibration samples; ``bound``: its upper bound.
    """

    order: int | None = None
    keep: float | None = None
    max_error: float | None = None
    max_drop: float | None = None
    max_error_of: str = "measured"

    def check(self) -> None:
        """Refuse requests that no model could meet.

        Raises
        ------
        UserError
            If not exactly one of the four is given, or one is out of range.
        """
        given = [name for name in ("order", "keep", "max_error", "max_drop") if getattr(self, name) is not None]
        if len(given) != 1:
            raise UserError(
                "How small the model should become must be said in one way: an order, a share to keep, a largest error or a "
                f"largest drop; given are {', '.join(given) or 'none'}."
            )
        if self.keep is not None and not 0 < self.keep <= 1:
            raise UserError(f"A share of {self.keep:g} of the states cannot be kept; give one above 0 and at most 1.")
        for name, value in (("error", self.max_error), ("drop", self.max_drop)):
            if value is not None and not 0 <= value < float("inf"):
                raise UserError(f"A largest {name} of {value:g} cannot be held; give a number of at least 0.")
        if self.max_error_of not in ("measured", "bound"):
            raise UserError(f"The largest error can be that of measured or bound, not of {self.max_error_of!r}.")


@dataclass(frozen=True, eq=False)
class Judged:
    """What orders are judged on.

    Attributes
    ----------
    model
        The user's model.
    network
        Its traced form.
    systems
        Original systems by layer.
    calibration, held_out
        Inputs by name; time stands on ``time_axis``.
    labels
        Of the held-out samples, or None.
    original
        The original's answers on the held-out samples.
    time_axis
        Position of time.
    method, horizon
        How layers are reduced.
    reduce
        Systems, orders, method and horizon to reductions.
    calibrate
        What is done to the reduced systems of a whole network before they are judged.
    """

    model: nn.Module
    network: Network
    systems: Mapping[str, System]
    calibration: Mapping[str, Array]
    held_out: Mapping[str, Array]
    labels: NDArray[np.generic] | None
    original: Mapping[str, NDArray[np.float32]]
    time_axis: int
    method: str
    horizon: int | None
    reduce: Callable[[Mapping[str, System], Mapping[str, int], str, int | None], dict[str, Reduction]] = reduce_layers
    calibrate: Callable[[Mapping[str, Reduction]], dict[str, Reduction]] = dict

    def batch(self, steps: int) -> list[Tensor]:
        """Calibration samples of so many time steps together, or held-out ones, without their labels, where there are none."""
        return first_samples(self.calibration or self.held_out, self.time_axis, steps)


class Reducer:
    """Reductions by layer and order, each made once; and calibrated, if at all, once for each choice of orders.

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
        systems = {name: self._judged.systems[name] for name in missing}
        for name, reduction in self._judged.reduce(systems, missing, self._judged.method, self._judged.horizon).items():
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
        return reducer(uniform_orders(judged.systems, request.order))
    progress("what each layer's error costs")
    widths = {name: system.batch_shape.numel() for name, system in judged.systems.items()}
    seen = study(judged.network, judged.systems, judged.batch(RULE_STEPS), judged.horizon)
    choice = Choice(seen, lambda share: progress(f"what each layer's error costs: {share:.0%}"))
    most, least = all_states(judged.systems), sum(widths.values())
    if request.keep is not None:
        # The rules looked at a direct method's errors; the reductions that will be built have the last word.
        proposals = [reducer(o) for o in list(choice.proposals(round(request.keep * most)).values())[:PROPOSALS]]
        return min(proposals, key=lambda reductions: measured_error(judged, reductions))
    good, narrowest = _judge_of(request, judged), min(widths.values())

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


def _judge_of(request: Request, judged: Judged) -> Callable[[Mapping[str, Reduction]], bool]:
    if request.max_drop is not None:
        points = request.max_drop
        return lambda reductions: drop_holds(judged, reductions, points)
    limit = request.max_error
    assert limit is not None
    if request.max_error_of == "measured":
        return lambda reductions: measured_error(judged, reductions) <= limit
    inputs = judged.batch(BOUND_STEPS)
    try:
        gains = NetworkGains(judged.systems, judged.horizon)
        # Where the network has no bound, that is known before anything is reduced.
        output_bounds(judged.network, gains, judged.systems, judged.systems, [x[:1] for x in inputs])
    except BoundError as reason:
        raise UserError(f"{reason} Ask for --max-error-of measured.") from reason

    def bounded(reductions: Mapping[str, Reduction]) -> bool:
        bounds = output_bounds(judged.network, gains, judged.systems, _systems(reductions), inputs)
        return bounds.sharpest <= limit * bounds.outputs

    return bounded


def measured_error(judged: Judged, reductions: Mapping[str, Reduction]) -> float:
    """Relative error of the outputs on calibration samples, root mean square."""
    inputs = judged.batch(ERROR_STEPS)
    with torch.no_grad():
        expected, actual = (judged.network.run(s, inputs) for s in (judged.systems, _systems(reductions)))
    error = sum(float((a - b).double().square().sum()) for a, b in zip(actual, expected, strict=True))
    return math.sqrt(error / max(sum(float(value.double().square().sum()) for value in expected), 1e-300))


def drop_holds(judged: Judged, reductions: Mapping[str, Reduction], points: float) -> bool:
    """Whether the reduced model's accuracy on the held-out samples, or its fit to true outputs, falls by at most so many points.

    Stops as soon as right answers to all that is left could no longer mend the drop.

    Raises
    ------
    UserError
        If there are no labels, or the model neither scores classes nor predicts what they are.
    """
    if judged.labels is None:
        raise UserError("A largest drop needs labels of the held-out samples; add them, or ask for --max-error.")
    name = next(iter(judged.original))
    if judged.labels.dtype.kind == "f" and judged.labels.shape == judged.original[name].shape:
        answers = record_outputs(replace_layers(judged.model, _systems(reductions)), judged.held_out, judged.time_axis)[name]
        rise = normalised_error(answers, judged.labels) - normalised_error(judged.original[name], judged.labels)
        return 100 * rise <= points + 1e-9
    if judged.original[name].shape[:-1] != judged.labels.shape:
        raise UserError(
            "A largest drop needs a model that scores the classes of its labels, or true outputs as labels; ask for --max-error."
        )
    right = judged.original[name].argmax(-1) == judged.labels
    reduced_model = replace_layers(judged.model, _systems(reductions))
    allowed, lost = points / 100 * right.size + 1e-9, 0
    for start in range(0, len(right), AT_ONCE):
        part = {key: value[start : start + AT_ONCE] for key, value in judged.held_out.items()}
        answers = record_outputs(reduced_model, part, judged.time_axis)[name].argmax(-1)
        here = answers == judged.labels[start : start + AT_ONCE]
        lost += int(right[start : start + AT_ONCE].sum()) - int(here.sum())
        gainable = int((~right[start + AT_ONCE :]).sum())
        if lost - gainable > allowed:
            return False
    return bool(lost <= allowed)


@dataclass(frozen=True, eq=False)
class OutputBounds:
    """The bounds on the error of a network's outputs.

    Attributes
    ----------
    certified
        The certified bound, or why there is none: nothing bounds the inputs of a layer for all inputs of the network.
    estimated
        The estimated one.
    outputs
        Root mean square of the outputs that they may be compared with.
    """

    certified: Bound | BoundError
    estimated: Bound
    outputs: float

    @property
    def sharpest(self) -> float:
        """The smaller of the two."""
        return min(bound.value for bound in (self.certified, self.estimated) if isinstance(bound, Bound))


def output_bounds(
    network: Network, gains: NetworkGains, systems: Mapping[str, System], reduced: Mapping[str, System], inputs: list[Tensor]
) -> OutputBounds:
    """Bound the error of a network's outputs, from proven constants alone and with constants observed on samples.

    Raises
    ------
    BoundError
        If the network has an operation that no rule covers.
    """
    certified: Bound | BoundError
    try:
        certified = network_bound(network, gains, reduced)
    except BoundError as reason:
        certified = reason
    observed = observe(network, [systems, reduced], [inputs])
    return OutputBounds(certified, network_bound(network, gains, reduced, observed), observed.outputs)


def bound_record(
    network: Network, systems: Mapping[str, System], reduced: Mapping[str, System], inputs: list[Tensor], horizon: int | None
) -> dict[str, Any]:
    """The output bounds for the manifest; where there is no rule for the network, the reason."""
    try:
        bounds = output_bounds(network, NetworkGains(systems, horizon), systems, reduced, inputs)
    except BoundError as reason:
        return {"available": False, "reason": str(reason)}
    certified = bounds.certified
    return {
        "available": True,
        "unit": "Euclidean norm of the output error, root mean square over time for outputs along time, in exact arithmetic",
        "outputs": bounds.outputs,
        "certified": certified.to_json() if isinstance(certified, Bound) else {"available": False, "reason": str(certified)},
        "estimated": bounds.estimated.to_json(),
    }


def first_samples(inputs: Mapping[str, Array], time_axis: int, steps: int) -> list[Tensor]:
    """Samples of so many time steps together, at least one."""
    arrays = list(inputs.values())
    rows = max(1, steps // arrays[0].shape[time_axis])
    return [torch.from_numpy(np.ascontiguousarray(x[:rows])) for x in arrays]


def _systems(reductions: Mapping[str, Reduction]) -> dict[str, System]:
    return {name: reduction.system for name, reduction in reductions.items()}


def _unreachable(request: Request) -> str:
    if request.max_drop is not None:
        return f"Not even the unreduced layers hold a drop of {request.max_drop:g} points; ask for a larger one."
    return f"Not even the unreduced layers hold an error of {request.max_error:g}; ask for a larger one."
