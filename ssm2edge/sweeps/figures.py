"""Figures of a cell, from the manifest of its artifact."""

from __future__ import annotations

from pathlib import Path

from ssm2edge.artifact import ArtifactError, Manifest, load_figures
from ssm2edge.artifact.figures import NAME
from ssm2edge.artifact.sweep import CellFigures
from ssm2edge.errors import Error


def figures_of(directory: Path, manifest: Manifest) -> CellFigures:
    """Return the figures of an artifact."""
    graphs = {name: record.bytes for name, record in manifest.files.items() if name.endswith(".onnx")}
    judged = manifest.judged
    first = next(iter(judged), None)
    latency, devices = manifest.latency, manifest.devices.values()
    ratio = None if latency is None else latency.ratios.get("offline")
    costs = {name: cost.multiply_adds for name, cost in manifest.costs.items()}
    return CellFigures(
        metric=None if first is None else manifest.metric(first) or "accuracy",
        original=None if first is None else judged[first].original,
        artifact=None if first is None else judged[first].artifact,
        loss=max((_points(manifest, name) for name in judged), default=None),
        samples=None if first is None else judged[first].samples,
        error=_error(directory),
        bytes=max(graphs.values(), default=0),
        offline_bytes=graphs.get("offline.onnx", 0),
        stream_bytes=graphs.get("stream.onnx"),
        weight_bytes=max((cost.stored for cost in manifest.costs.values() if cost.weights), default=None),
        original_bytes=manifest.original.bytes,
        latency=None if latency is None else latency.artifact,
        latency_ratio=None if ratio is None else ratio.ratio,
        multiply_adds=costs.get("offline"),
        stream_multiply_adds=costs.get("stream"),
        parameters=manifest.parameters.ssm_after,
        original_parameters=manifest.parameters.ssm_before,
        states=max((layer.order_after for layer in manifest.layers), default=0),
        ram=min((device.ram for device in devices), default=None) or _ram(directory, manifest),
        flash=min((device.flash for device in devices if device.flash is not None), default=None),
    )


def _points(manifest: Manifest, name: str) -> float:
    """Return the points of accuracy, or hundredths of the NRMSE, that an output loses."""
    one = manifest.judged[name]
    change = one.artifact - one.original
    return 100 * (change if manifest.metric(name) == "nrmse" else -change) + 0.0


def _ram(directory: Path, manifest: Manifest) -> int | None:
    """Return the RAM of the stream as C, as its emitter knows it; None where there is no stream or no C form."""
    from ssm2edge.firmware.ram import ram_of

    try:
        return ram_of(directory / "stream.onnx", manifest.task) if manifest.streaming.available else None
    except Error:
        return None


def _error(directory: Path) -> float | None:
    try:
        figures = load_figures(directory / NAME)
    except ArtifactError:
        return None
    return figures.output_error / figures.output_size if figures.output_size > 0 else None
