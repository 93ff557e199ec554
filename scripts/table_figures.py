"""Figures of docs/tables.md from the cells of a sweep: what their manifests say, by way of reduction and size."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from ssm2edge.artifact import Manifest, open_manifest
from ssm2edge.artifact.sweep import CellRecord
from ssm2edge.loading import open_source
from ssm2edge.pipeline import load
from ssm2edge.runtime import Model, Stream
from ssm2edge.systems.system import System
from ssm2edge.verification import interleaved, processor_name

DIVISORS = (2, 4, 8, 16, 32)
"""Of the states of each layer, in the tables."""
BOUNDED = ("gradient", "match")
"""Ways whose bound on the output error is in the tables."""
PLAIN = {"order", "method", "calibrate", "calibration_steps", "seed", "block", "horizon"}
"""Options of the cells of these tables; cells with others are of other tables."""
ROUNDS, BUDGET = 100, 6.0
"""Of the comparison of latencies."""

Figures = dict[str, Any]


def orders_at(systems: Mapping[str, System], divisor: int) -> dict[str, int]:
    """Return a share of each layer's states, at least one."""
    return {name: max(1, round(system.order / divisor)) for name, system in systems.items()}


def figures_of(directory: Path, cells: Iterable[CellRecord]) -> Figures:
    """Return the figures of one model: the original's, and those of every way and size among the finished cells."""
    figures: Figures = {"cells": {}, "deployed": {}}
    for cell in cells:
        if cell.status != "done" or "order" not in cell.options or set(cell.options) - PLAIN:
            continue
        manifest = open_manifest(directory / cell.directory / "manifest.json")
        original, order = original_of(manifest), int(cell.options["order"])
        if any(layer.order_after != order for layer in manifest.layers):
            continue
        shares = {layer.order_before / order for layer in manifest.layers}
        if len(shares) > 1 or (share := shares.pop()) not in DIVISORS:
            continue
        figures["original"], figures["metric"] = original, metric_of(manifest)
        way = way_of(cell)
        figures["cells"][f"{way} 1/{share:.0f}"] = cell_figures(manifest, way, cell.seconds)
        if way == "match":
            figures["deployed"][f"1/{share:.0f}"] = {
                "bytes": {Path(name).stem: file.bytes for name, file in manifest.files.items() if name.endswith(".onnx")},
                "streams": manifest.streaming.available,
                "directory": cell.directory,
            }
    return figures


def way_of(cell: CellRecord) -> str:
    """Return the way in which a cell reduces its layers: by calibration, or else by its method."""
    way: str = cell.options.get("calibrate", "match")
    return str(cell.options.get("method", "gradient")) if way == "none" else way


def metric_of(manifest: Manifest) -> str:
    """Return the metric of the only output with labels."""
    ((name, _),) = manifest.judged.items()
    return manifest.metric(name) or "accuracy"


def original_of(manifest: Manifest) -> Figures:
    """Return what a manifest says of the unreduced model."""
    ((_, judged),) = manifest.judged.items()
    return {
        "value": judged.original,
        "samples": judged.samples,
        "states": sum(systems_of(layer) * layer.order_before for layer in manifest.layers),
        "orders": {layer.name: layer.order_before for layer in manifest.layers},
        "ssm_parameters": manifest.parameters.ssm_before,
        "parameters": manifest.parameters.model_before,
        "weights_bytes": manifest.original.bytes,
    }


def systems_of(layer: Any) -> int:
    """Return how many systems a layer has: a bank has one for each channel."""
    return int(layer.channels) if "bank" in layer.kind else 1


def cell_figures(manifest: Manifest, way: str, seconds: float | None) -> Figures:
    """Return metric, sizes and errors of one cell; the error is relative to the norm of all layers together."""
    ((_, judged),) = manifest.judged.items()
    norms = [layer.h2_error / layer.h2_error_relative for layer in manifest.layers if layer.h2_error_relative]
    error = math.hypot(*(layer.h2_error for layer in manifest.layers))
    cell: Figures = {
        "value": judged.artifact,
        "states": sum(systems_of(layer) * layer.order_after for layer in manifest.layers),
        "ssm_parameters": manifest.parameters.ssm_after,
        "parameters": manifest.parameters.model_after,
        "h2_error_relative": error / math.hypot(*norms) if norms else 0.0,
        "seconds": None if seconds is None else round(seconds, 1),
    }
    if way in BOUNDED:
        bound = manifest.bound or {}
        kinds = [kind for kind in ("certified", "estimated") if "value" in bound.get(kind, {})]
        cell["bound"] = {kind: float(bound[kind]["value"] / bound["outputs"]) for kind in kinds}
    return cell


def latencies(model: Path, artifact: Path) -> Figures:
    """Return latencies of an artifact against its original in PyTorch, one sequence and one thread, in interleaved turns."""
    source = open_source(str(model))
    task = load(source)
    sample = task.first
    tensors = [torch.from_numpy(value) for value in sample.values()]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with Model(artifact / "offline.onnx") as graph, torch.no_grad():
            candidates: dict[str, Callable[[], object]] = {
                "original": lambda: task.model(*tensors),
                "offline": lambda: graph.run(sample),
            }
            if (artifact / "stream.onnx").exists():
                stream = Stream(artifact / "stream.onnx")
                step = {name: value.take([0], task.time_axis) for name, value in sample.items()}
                candidates["step"] = lambda: stream.push(step)
            compared = interleaved(candidates, baseline="original", rounds=ROUNDS, budget=BUDGET)
    finally:
        torch.set_num_threads(threads)
    ratio = compared.ratio("offline")
    return {
        "processor": processor_name(),
        "rounds": compared.rounds,
        "seconds": {name: compared.median(name) for name in candidates},
        "offline_to_original": [ratio.ratio, ratio.low, ratio.high],
    }
