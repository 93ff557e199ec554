"""Rules for the cost of each order of each layer at the output; a new rule is one function and one line in ``RULES``.

Each returns one curve per layer, of any scale: only sums of them are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ssm2edge.bounds import NetworkGains, network_bound, observe
from ssm2edge.orders.distribution import CostCurve
from ssm2edge.orders.sensitivity import sensitivities
from ssm2edge.orders.study import Progress, Study
from ssm2edge.systems.norms import h2_error
from ssm2edge.traced.network import filtered

Curves = Mapping[str, CostCurve]
Rule = Callable[[Study, Progress], Curves]


def by_h2(study: Study, progress: Progress) -> Curves:
    """Return squared h2 errors, all layers alike: right if no layer matters more than another."""
    return {name: _curve({order: _squared_h2(study, name, order) for order in steps}) for name, steps in study.steps.items()}


def by_bound(study: Study, progress: Progress) -> Curves:
    """Return each layer's contribution to the output bound, with the constants seen on the samples."""
    gains = NetworkGains(study.systems, study.horizon)
    observed = observe(study.network, [study.systems], [study.inputs])
    curves: dict[str, CostCurve] = {}
    for name, steps in study.steps.items():
        costs = {}
        for order, system in steps.items():
            bound = network_bound(study.network, gains, {**study.systems, name: system}, observed)
            costs[order] = bound.layers[name].contribution
        curves[name] = _curve(costs)
    return curves


def by_sensitivity(study: Study, progress: Progress) -> Curves:
    """Return squared h2 errors of the channels, weighted by gradients and inputs as if both were white noise.

    A channel with h2 error e and inputs of mean square m errs by e^2 m at every step; the squared change of the outputs is that
    times the sum over time of the squared gradients.
    """
    curves: dict[str, CostCurve] = {}
    for name, known in sensitivities(study).items():
        squares = known.gradients.double().square().sum(0)
        if study.systems[name].batch_shape:
            weights = squares.sum(-1).mean(0) * known.inputs.double().square().mean((0, 2))
        else:
            # One system of many inputs and outputs: its error is spread evenly over them.
            weights = squares.sum(1).mean() * known.inputs.double().square().mean()
        costs = {
            order: float((h2_error(study.systems[name], system, study.horizon).square() * weights).sum())
            for order, system in study.steps[name].items()
        }
        curves[name] = _curve(costs)
    return curves


def by_first_order(study: Study, progress: Progress) -> Curves:
    """Return the squared change of the outputs, to first order, by the errors of the layer's reduction on its real inputs."""
    curves: dict[str, CostCurve] = {}
    for name, known in sensitivities(study).items():
        costs = {}
        for order, system in study.steps[name].items():
            error = filtered(study.systems[name] - system, known.inputs)
            costs[order] = float((known.gradients * error).sum((-2, -1)).double().square().sum())
        curves[name] = _curve(costs)
    return curves


def by_one_layer(study: Study, progress: Progress) -> Curves:
    """Measure the squared change of the outputs when this layer alone is reduced."""
    original = study.outputs({})
    curves: dict[str, CostCurve] = {}
    for done, (name, steps) in enumerate(study.steps.items()):
        costs = {}
        for position, (order, system) in enumerate(steps.items()):
            costs[order] = float((study.outputs({name: system}) - original).square().sum())
            progress((done + (position + 1) / len(steps)) / len(study.steps))
        curves[name] = _curve(costs)
    return curves


RULES: Mapping[str, Rule] = {
    "h2": by_h2,
    "bound": by_bound,
    "sensitivity": by_sensitivity,
    "first_order": by_first_order,
    "one_layer": by_one_layer,
}


def _squared_h2(study: Study, name: str, order: int) -> float:
    return float(h2_error(study.systems[name], study.steps[name][order], study.horizon).square().sum())


def _curve(costs: Mapping[int, float]) -> CostCurve:
    return CostCurve(tuple(costs), tuple(costs.values()))
