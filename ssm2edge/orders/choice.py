"""The default choice of orders: several rules propose, the error of the outputs on samples decides."""

from __future__ import annotations

from collections.abc import Mapping

from ssm2edge.orders.distribution import CostCurve, distribute
from ssm2edge.orders.rules import RULES
from ssm2edge.orders.study import DIRECT, Progress, Study
from ssm2edge.reduction import reduce_system
from ssm2edge.systems.division import TINY
from ssm2edge.systems.system import System

PROPOSING = ("h2", "sensitivity", "one_layer")
"""Rules that have won somewhere: no single one wins everywhere, since each takes the layers' errors for independent."""


class Choice:
    """Orders for any budget.

    Parameters
    ----------
    study
        Network, samples and reductions of each layer.
    progress
        Called with the share done.
    """

    def __init__(self, study: Study, progress: Progress = lambda share: None) -> None:
        self._study = study
        self._made: dict[tuple[str, int], System] = {
            (name, order): system for name, steps in study.steps.items() for order, system in steps.items()
        }
        self._curves: dict[str, Mapping[str, CostCurve]] = {}
        # A single layer gets the whole budget whatever its errors cost.
        self._proposing = PROPOSING if len(study.systems) > 1 else PROPOSING[:1]
        for rule in self._proposing:
            self._curves[rule] = RULES[rule](study, progress)
        self._expected = study.outputs({})

    @property
    def size(self) -> float:
        """The squared size of the outputs, to which squared changes are relative."""
        return max(float(self._expected.square().sum()), TINY)

    def curves(self, rule: str) -> Mapping[str, CostCurve]:
        """Return the costs of each layer's orders by a rule."""
        if rule not in self._curves:
            self._curves[rule] = RULES[rule](self._study, lambda share: None)
        return self._curves[rule]

    def proposals(self, budget: int) -> dict[str, dict[str, int]]:
        """Return orders by each rule, and one order for all layers (``uniform``); the best on the samples first, none twice."""
        widths = self._study.widths
        proposed = {rule: distribute(self._curves[rule], widths, budget) for rule in self._proposing}
        same = budget // sum(widths.values())
        if same <= min(system.order for system in self._study.systems.values()):
            proposed["uniform"] = dict.fromkeys(widths, same)
        distinct = {tuple(orders.values()): rule for rule, orders in reversed(proposed.items())}
        rules = (
            sorted(distinct.values(), key=lambda rule: self._error(proposed[rule])) if len(distinct) > 1 else distinct.values()
        )
        return {rule: proposed[rule] for rule in rules}

    def orders(self, budget: int) -> dict[str, int]:
        """Return the proposal that errs least on the samples."""
        return next(iter(self.proposals(budget).values()))

    def _error(self, orders: Mapping[str, int]) -> float:
        for name, order in orders.items():
            if (name, order) not in self._made:
                reduction = reduce_system(self._study.systems[name], order, DIRECT, self._study.horizon)
                self._made[name, order] = reduction.system
        outputs = self._study.outputs({name: self._made[name, order] for name, order in orders.items()})
        return float((outputs - self._expected).square().sum())
