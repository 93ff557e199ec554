"""Inspected layers for people: the cost of each order, plans, and what stays as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ssm2edge.artifact.notes import poor_fit, unstable
from ssm2edge.tables.parts import extent, noted, size_text, titled_table


class Layer(Protocol):
    """An inspected layer as it is printed; `inspection.LayerReport` is one, and needs torch, which this module does not."""

    @property
    def name(self) -> str: ...
    @property
    def library(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def channels(self) -> int: ...
    @property
    def order(self) -> int: ...
    @property
    def parameters(self) -> int: ...
    @property
    def horizon(self) -> int | None: ...
    @property
    def spectral_radius(self) -> float: ...
    @property
    def h2_norm(self) -> float: ...
    @property
    def hankel_decay(self) -> Mapping[int, float]: ...
    @property
    def method(self) -> str: ...
    @property
    def costs(self) -> Mapping[int, float]: ...
    @property
    def at_most(self) -> Sequence[int]: ...
    @property
    def plan(self) -> str: ...
    @property
    def plans(self) -> Sequence[Plan]: ...
    @property
    def realised(self) -> Fit | None: ...


class Plan(Protocol):
    """A kernel plan as it is printed; `inspection.PlanReport` is one."""

    @property
    def order(self) -> int: ...
    @property
    def block(self) -> int | None: ...
    @property
    def plan(self) -> str: ...
    @property
    def candidates(self) -> Mapping[str, float]: ...


class Fit(Protocol):
    """A realisation as it is printed; `artifact.RealisedRecord` is one."""

    @property
    def taps(self) -> int: ...
    @property
    def error(self) -> float: ...
    @property
    def repaired(self) -> int: ...


class Kept(Protocol):
    """A layer that cannot be reduced, as it is printed; `artifact.KeptLayer` is one."""

    @property
    def name(self) -> str: ...
    @property
    def library(self) -> str: ...
    @property
    def reason(self) -> str: ...


def show_layers(
    console: Console, reports: Sequence[Layer], kept: Sequence[Kept] = (), weights: Mapping[str, int] = MappingProxyType({})
) -> None:
    """Print the layers of a model, the cost of each order, the layers that cannot be reduced, and the bytes of all else."""
    for report in reports:
        horizon = "infinite" if report.horizon is None else f"{report.horizon} taps"
        table = titled_table(
            f"{report.name or '(the model)'}: {report.library}, {report.kind}, {extent(report.channels)} of order "
            f"{report.order}, {report.parameters:,} parameters",
            "order", "first neglected Hankel value", f"relative h2 error of {report.method}",
        )  # fmt: skip
        for order, cost in report.costs.items():
            most = "at most " * (order in report.at_most)
            table.add_row(
                str(order), f"{report.hankel_decay[order]:.3g}", f"{most}{cost:.3g}{' (worse than no layer)' * (cost > 1)}"
            )
        table.caption = (
            f"horizon {horizon}; spectral radius {report.spectral_radius:.6f}; h2 norm {report.h2_norm:.4g}; {report.plan}"
            + ("" if report.realised is None else f"; {fit_text(report.realised)}")
        )
        console.print(table)
        fit = None if report.realised is None else poor_fit(report.name, report.realised.taps, report.realised.error)
        for note in (unstable(report.name, report.spectral_radius, report.horizon), fit):
            if note is not None:
                console.print(noted(note))
    if kept:
        console.print(kept_table(kept))
    if any(weights.values()):
        shown = ", ".join(f"{size_text(count)} in {precision}" for precision, count in weights.items())
        console.print(Text(f"Weights outside of the layers: {shown} (--precision)"))


def show_plans(console: Console, reports: Sequence[Layer]) -> None:
    """Print the kernel form of each layer in the graphs, and the estimates of the runners-up."""
    for report in reports:
        table = titled_table(
            f"{report.name or '(the model)'}: plans", "order", "graph", "plan", "estimates, ns a sample, as --plan takes them"
        )
        for plan in report.plans:
            graph = "whole sequences" if plan.block is None else "one sample" if plan.block == 1 else f"blocks of {plan.block}"
            estimates = ", ".join(f"{name} {cost:.0f}" for name, cost in plan.candidates.items())
            table.add_row(str(plan.order), graph, plan.plan, estimates)
        console.print(table)


def fit_text(realised: Fit) -> str:
    """Return the error of the system against the layer's response, before any reduction."""
    repaired = f", {realised.repaired} systems repaired" if realised.repaired else ""
    return f"realised from {realised.taps} taps with a relative error of {realised.error:.3g}{repaired}"


def kept_table(layers: Sequence[Kept]) -> Table:
    """Return the table of layers that cannot be reduced."""
    table = titled_table("Layers that stay as they are", "layer", "library", "reason")
    for layer in layers:
        table.add_row(layer.name or "(the model)", layer.library, layer.reason)
    return table
