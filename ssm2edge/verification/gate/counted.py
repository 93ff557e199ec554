"""Figures without noise: nodes, multiply-adds, bytes, parameters, orders."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

from ssm2edge.artifact import Manifest
from ssm2edge.verification.gate.policy import Policy
from ssm2edge.verification.gate.report import Gate, figure_text
from ssm2edge.verification.sequential import Outcome


def counted(candidate: Manifest, baseline: Manifest, policy: Policy) -> Iterator[Gate]:
    """Compare the figures of the manifests."""
    for name, key, figure, before in _figures(candidate, baseline):
        percent = policy.increase[key]
        if percent is not None:
            gate = at_most(name, figure, before, percent)
            graph, _, what = name.partition(".")
            more = by_kind(candidate.costs[graph].weights, baseline.costs[graph].weights) if what == "weights" else ""
            yield dataclasses.replace(gate, detail=gate.detail + more)
    if baseline.streaming.available and not candidate.streaming.available:
        yield Gate("stream", 1.0, 0.0, 1.0, Outcome.REGRESSION, f"the candidate cannot stream: {candidate.streaming.reason}")


def at_most(name: str, figure: float, before: float, percent: float, slack: float = 0.0) -> Gate:
    """Return a gate that passes while the figure is not more than ``percent`` and ``slack`` above the one before."""
    limit = before * (1.0 + percent / 100.0) + slack
    passed = figure <= limit
    allowed = f"at most {percent:g} % more allowed" if percent > 0 else "no more allowed"
    detail = f"{figure_text(before)} before, {figure_text(figure)} now{_change(figure, before)}, {allowed}"
    return Gate(name, before, figure, limit, Outcome.PASSED if passed else Outcome.REGRESSION, detail)


def _change(figure: float, before: float) -> str:
    """Return the difference in the figure's own unit and in per cent, if it shows; empty without one."""
    if figure == before:
        return ""
    percent = 100.0 * (figure / before - 1.0) if before > 0 else 0.0
    share = f", {percent:+.2f} %" if abs(percent) >= 0.005 else ""
    return f" ({figure_text(figure - before, sign='+')}{share})"


def by_kind(now: Mapping[str, int], before: Mapping[str, int]) -> str:
    """Return by how many bytes each kind of numbers changes, the largest change first, behind a semicolon; empty if none does."""
    changes = {kind: now.get(kind, 0) - before.get(kind, 0) for kind in {**now, **before}}
    largest = sorted((item for item in changes.items() if item[1]), key=lambda item: -abs(item[1]))
    return "; " + ", ".join(f"{kind} {figure_text(change, sign='+')}" for kind, change in largest) if largest else ""


def _figures(candidate: Manifest, baseline: Manifest) -> Iterator[tuple[str, str, float, float]]:
    """Return the name of each gate, the key of its limit, the candidate's figure and the baseline's."""
    for graph in ("offline", "stream"):
        if graph in candidate.costs and graph in baseline.costs:
            now, before = candidate.costs[graph], baseline.costs[graph]
            yield f"{graph}.nodes", "nodes", now.nodes, before.nodes
            yield f"{graph}.multiply_adds", "multiply_adds", now.multiply_adds, before.multiply_adds
            if now.weights and before.weights:
                yield f"{graph}.weights", "bytes", now.stored, before.stored
        file = f"{graph}.onnx"
        if file in candidate.files and file in baseline.files:
            yield f"{graph}.bytes", "bytes", candidate.files[file].bytes, baseline.files[file].bytes
    yield "parameters", "parameters", candidate.parameters.model_after, baseline.parameters.model_after
    orders = {layer.name: layer.order_after for layer in baseline.layers}
    shared = [layer for layer in candidate.layers if layer.name in orders]
    if shared:
        yield (
            "orders",
            "orders",
            sum(layer.order_after * layer.channels for layer in shared),
            sum(orders[layer.name] * layer.channels for layer in shared),
        )
