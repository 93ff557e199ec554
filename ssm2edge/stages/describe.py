"""The manifest: layers, figures, and the tools that built them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from torch import nn

from ssm2edge.artifact import (
    GraphCost,
    KeptLayer,
    Latency,
    LayerRecord,
    Manifest,
    OriginalRecord,
    Parameters,
    RealisedRecord,
    SelectionRecord,
    Source,
    WeightRecord,
)
from ssm2edge.cache.versions import versions
from ssm2edge.calibration import Matched
from ssm2edge.export.onnx_graph import OLDEST_ONNXRUNTIME
from ssm2edge.layers import FoundLayer, Origin, blocks
from ssm2edge.options import Options, described
from ssm2edge.orders import Selection, all_states
from ssm2edge.original.recording import count_parameters
from ssm2edge.original.task import Task
from ssm2edge.reduction import Reduction
from ssm2edge.stages.export import Graphs
from ssm2edge.stages.replace import Reduced
from ssm2edge.systems.norms import h2_error, h2_norm
from ssm2edge.systems.stability import spectral_radius
from ssm2edge.systems.system import System
from ssm2edge.traced import TracedModel
from ssm2edge.verification import Verdict


def describe(
    task: Task,
    options: Options,
    reduced: Reduced,
    layers: tuple[LayerRecord, ...],
    *,
    matched: Matched | None,
    bound: Mapping[str, Any],
    verdict: Verdict,
    latency: Latency,
    original: OriginalRecord,
    costs: Mapping[str, GraphCost],
    graphs: Graphs,
    selection: Selection | None = None,
    weights: tuple[WeightRecord, ...] = (),
) -> Manifest:
    """Put together the findings of a build; files are still missing."""
    source = task.source
    return Manifest(
        tool={**versions(), "oldest_onnxruntime": OLDEST_ONNXRUNTIME},
        source=Source(source.given, source.factory, source.hashes(), task.fingerprint),
        options=described(options, task.horizon)
        | {key: list(named) for key, named in (("lti", source.lti), ("static", source.static)) if named}
        | source.known,
        layers=layers,
        parameters=Parameters(
            ssm_before=sum(layer.parameters for layer in task.layers.values()),
            ssm_after=count_parameters(nn.ModuleList(blocks(reduced.model).values())),
            model_before=count_parameters(task.model) + sum(layer.frozen for layer in task.layers.values()),
            model_after=count_parameters(reduced.model),
        ),
        calibration=None if matched is None else {name: float(value) for name, value in asdict(matched).items()},
        bound=bound,
        task=task_record(task),
        accuracy=verdict.accuracy,
        parity=verdict.to_json(),
        latency=latency,
        original=original,
        costs=costs,
        streaming=graphs.streaming,
        states=graphs.states,
        heads=verdict.heads,
        calibrated_on=_sequences(task, options),
        selection=None if selection is None else selection_record(task, options, selection),
        lengths=lengths_record(reduced.traced),
        weights=weights,
        kept_layers=tuple(KeptLayer(layer.name, layer.library, layer.reason) for layer in task.refused),
    )


def _sequences(task: Task, options: Options) -> dict[str, int]:
    if options.calibrate == "none":
        return {}
    count, synthetic = len(next(iter(task.samples.calibration.values()))), task.samples.synthetic
    return {kind: number for kind, number in (("samples", count - synthetic), ("synthetic", synthetic)) if number}


def selection_record(task: Task, options: Options, selection: Selection) -> SelectionRecord:
    """Return the choice of the size as the manifest records it."""
    most = all_states(task.systems)
    chosen = None if selection.size is None else selection.evidence[selection.size]
    smaller, needed = selection.wanting or (None, None)
    return SelectionRecord(
        kind="error" if options.max_drop is None else "drop",
        samples=len(next(iter(task.samples.validation.values()))),
        states=selection.size or most,
        of=most,
        loss=None if chosen is None else chosen.loss,
        bound=None if chosen is None else chosen.bound,
        confidence=selection.confidence,
        looks=len(selection.evidence),
        smaller=smaller,
        needed=needed,
    )


def lengths_record(traced: TracedModel) -> dict[str, int]:
    """Return the smallest and the largest length that the graphs take; nothing where there is no largest one."""
    return {} if traced.longest is None else {"shortest": traced.shortest, "longest": traced.longest}


def task_record(task: Task) -> dict[str, Any] | None:
    """Return the task of the model with the metric of its first output, and of each where several have labels."""
    metrics = dict(zip(task.outputs, task.metrics, strict=True))
    record = dict(task.source.task or {})
    if metrics[task.outputs[0]] is not None:
        record["metric"] = metrics[task.outputs[0]]
    if set(task.samples.labels) - {task.outputs[0]}:
        # Labels without a metric are classes.
        record["metrics"] = {name: metrics[name] or "accuracy" for name in task.samples.labels}
    return record or None


def layer_records(
    layers: Mapping[str, FoundLayer], deployed: Mapping[str, System], reductions: Mapping[str, Reduction]
) -> tuple[LayerRecord, ...]:
    """Describe every layer; errors are those of the float32 blocks that run, not of the float64 reductions they came from."""
    records = []
    for name, layer in layers.items():
        reduction = reductions[name]
        system = deployed[name]
        norm = float(h2_norm(layer.system, reduction.horizon).norm())
        error = layer.with_realisation(float(h2_error(layer.system, system, reduction.horizon).norm()), norm)
        records.append(
            LayerRecord(
                name=name,
                library=layer.library,
                kind=layer.kind,
                channels=layer.system.batch_shape.numel(),
                order_before=layer.system.order,
                order_after=reduction.order,
                horizon=reduction.horizon,
                h2_error=error,
                h2_error_relative=error / norm if norm > 0 else 0.0,
                spectral_radius=float(spectral_radius(system).max()),
                outcomes=reduction.outcome_counts,
                spectral_radius_before=float(spectral_radius(layer.system).max()),
                realised=None if layer.realised is None else RealisedRecord(**asdict(layer.realised)),
            )
        )
    return tuple(records)


def block_origins(layers: Iterable[LayerRecord], reductions: Mapping[str, Reduction]) -> dict[str, Origin]:
    """Return what each block of a reduced model carries (:func:`ssm2edge.layers.describe_blocks`), by layer."""
    origins = {}
    for layer in layers:
        ended = {name.replace("_", " "): count for name, count in layer.outcomes.items()}
        outcome = ", ".join(ended if len(ended) == 1 else (f"{count} {name}" for name, count in ended.items()))
        origins[layer.name] = Origin(layer.order_before, layer.h2_error_relative, outcome, reductions[layer.name].method)
    return origins
