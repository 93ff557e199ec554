"""What `ssm2edge build` does, told once."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from ssm2edge.artifact import (
    Manifest,
    Parameters,
    Reference,
    StateRecord,
    Streaming,
    seal,
    staging,
)
from ssm2edge.artifact import Source as SourceRecord
from ssm2edge.bounds import Network
from ssm2edge.calibration import Calibrated, Signals, calibrate, signals_of
from ssm2edge.description import calibration_record, layer_records, versions
from ssm2edge.errors import UserError
from ssm2edge.export import ExportError, InputAxes, StreamingError, TracedModel, export_offline, export_stream, trace
from ssm2edge.inspection import LayerReport, inspect_layer
from ssm2edge.latency import compare_with_original
from ssm2edge.layers import FoundLayer, LayerError, blocks, exportable, find_layers, replace_layers
from ssm2edge.loading import Samples, Source, input_names, load_model, load_samples
from ssm2edge.options import Options, check_options, described
from ssm2edge.recording import count_parameters, record_outputs
from ssm2edge.reduction import Reduction
from ssm2edge.reduction.layerwise import reduce_layers
from ssm2edge.reduction.orders import uniform_orders
from ssm2edge.sizing import BOUND_STEPS, Judged, bound_record, choose_reductions, first_samples
from ssm2edge.systems.system import System
from ssm2edge.verification import Subject, Verdict, examine

Progress = Callable[[str, float], None]
"""Called with the stage's name and the share of it that is done."""


@dataclass(frozen=True, eq=False)
class Built:
    """A published artifact and the verdict on it."""

    directory: Path
    manifest: Manifest
    verdict: Verdict
    seconds: float


@dataclass(frozen=True, eq=False)
class Loaded:
    """The user's model, samples and layers."""

    source: Source
    model: nn.Module
    samples: Samples
    layers: Mapping[str, FoundLayer]

    @property
    def systems(self) -> dict[str, System]:
        """The layers' systems by name."""
        return {name: layer.system for name, layer in self.layers.items()}

    @property
    def length(self) -> int:
        """Time steps of the held-out samples."""
        return int(next(iter(self.samples.held_out.values())).shape[self.source.time_axis])


def load(source: Source, trust_pickle: bool = False) -> Loaded:
    """Load the user's model, weights and samples, and find its layers.

    Raises
    ------
    UserError
        If anything the user gave cannot be used.
    """
    model = load_model(source, trust_pickle)
    try:
        layers = {layer.name: layer for layer in find_layers(model)}
    except LayerError as error:
        raise UserError(str(error)) from error
    samples = load_samples(source.samples, input_names(model), source.time_axis, source.metric)
    return Loaded(source, model, samples, layers)


def build(source: Source, options: Options, out: Path, force: bool, progress: Progress) -> Built:
    """Build, verify and publish an artifact.

    Raises
    ------
    UserError
        If what the user gave cannot be used, or the output directory is taken.
    VerificationError
        If the artifact does not compute what the reduced model computes; nothing is published then.
    """
    start = time.monotonic()
    check_options(options)
    with staging(out, force) as folder:
        progress("load", 0.0)
        loaded = load(source, options.trust_pickle)
        if options.calibrate != "none":
            # What is wrong with the samples is said before anything takes long.
            calibration_signals(loaded, dict.fromkeys(loaded.layers, 1))
        progress("original", 0.0)
        held_out, axis = loaded.samples.held_out, source.time_axis
        original = record_outputs(loaded.model, held_out, axis, lambda share: progress("original", share))
        progress("reduce", 0.0)
        reductions = reduce(loaded, options, original, lambda step: progress(f"reduce {step}", 0.0))
        calibrated = calibrate_reductions(loaded, options, reductions, progress)
        progress("replace", 0.0)
        reduced_model = replace(loaded, calibrated.systems)
        reduced = record_outputs(reduced_model, held_out, axis, lambda share: progress("replace", share))
        progress("export", 0.0)
        traced = traced_model(reduced_model, loaded)
        streaming, states = export(traced, options, folder, progress)
        progress("bound", 0.0)
        bound = output_bound(loaded, traced, reduced_model, options)
        progress("verify", 0.0)
        reference = Reference(dict(held_out), original, reduced, loaded.samples.labels)
        reference.save(folder)
        records = layer_records(loaded.layers, deployed_systems(reduced_model), reductions)
        verdict = examine(
            Subject.staged(folder, reference, {record.name: record.spectral_radius for record in records}),
            lambda name: progress(f"verify {name}", 0.0),
        )
        if not verdict.passed:
            raise VerificationError(verdict)
        progress("measure latency", 0.0)
        latency = compare_with_original(loaded.model, folder, [x[:1] for x in held_out.values()])
        progress("publish", 0.0)
        manifest = Manifest(
            tool=versions(),
            source=SourceRecord(source.given, source.factory, source.hashes()),
            options=described(options, horizon_of(options, loaded)),
            layers=records,
            parameters=Parameters(
                ssm_before=sum(layer.parameters for layer in loaded.layers.values()),
                ssm_after=sum(count_parameters(block) for block in blocks(reduced_model).values()),
                model_before=count_parameters(loaded.model),
                model_after=count_parameters(reduced_model),
            ),
            calibration=calibration_record(calibrated),
            bound=bound,
            task=None if source.metric is None else {"metric": source.metric},
            accuracy=verdict.accuracy,
            parity=verdict.to_json(),
            latency=latency,
            streaming=streaming,
            states=states,
        )
        manifest = seal(folder, manifest)
    return Built(out, manifest, verdict, time.monotonic() - start)


class VerificationError(Exception):
    """An artifact that failed its own checks; it was not published."""

    def __init__(self, verdict: Verdict) -> None:
        failed = "; ".join(f"{check.name}: {check.detail}" for check in verdict.failures)
        super().__init__(f"The artifact failed its verification and was not published ({failed}).")
        self.verdict = verdict


def inspect(source: Source, horizon: int | str | None, trust_pickle: bool, progress: Callable[[str], None]) -> list[LayerReport]:
    """Find the layers of a model and measure each.

    Raises
    ------
    UserError
        If anything the user gave cannot be used.
    """
    loaded = load(source, trust_pickle)
    taps = loaded.length if isinstance(horizon, str) else horizon
    reports = []
    for name, layer in loaded.layers.items():
        progress(name)
        reports.append(inspect_layer(layer, taps))
    return reports


def horizon_of(options: Options, loaded: Loaded) -> int | None:
    """The horizon in taps: what the user asked for, or the length of the samples."""
    return loaded.length if isinstance(options.horizon, str) else options.horizon


def reduce(
    loaded: Loaded, options: Options, original: Mapping[str, NDArray[np.float32]], progress: Callable[[str], None]
) -> dict[str, Reduction]:
    """Choose each layer's order, and reduce each System to it."""
    systems, horizon = loaded.systems, horizon_of(options, loaded)
    try:
        if options.order is not None:
            return reduce_layers(systems, uniform_orders(systems, options.order), options.method, horizon)
        network = Network(traced_model(replace(loaded, systems), loaded).program)
        samples, axis = loaded.samples, loaded.source.time_axis
        judged = Judged(
            loaded.model, network, systems, samples.calibration, samples.held_out, samples.labels, original, axis,
            options.method, horizon, lambda reductions: judged_after_calibration(loaded, options, reductions),
        )  # fmt: skip
        return choose_reductions(options.request, judged, progress)
    except ValueError as error:
        raise UserError(f"The model cannot be reduced: {error}") from error


def calibrate_reductions(
    loaded: Loaded, options: Options, reductions: Mapping[str, Reduction], progress: Progress, kind: str | None = None
) -> Calibrated:
    """Improve the reduced systems on the calibration samples."""
    kind = options.calibrate if kind is None else kind
    reduced = {name: reduction.system for name, reduction in reductions.items()}
    if kind == "none":
        return Calibrated(reduced, None)
    orders = {name: reduction.order for name, reduction in reductions.items()}
    signals = calibration_signals(loaded, orders)
    metric, method = loaded.source.metric, options.method
    return calibrate(
        loaded.model, loaded.systems, reduced, signals, kind, metric, options.matching, method,
        lambda what, share: progress(f"calibrate ({what})", share),
    )  # fmt: skip


def calibration_signals(loaded: Loaded, orders: Mapping[str, int]) -> Signals:
    """The calibration samples, checked."""
    return signals_of(loaded.samples.calibration, loaded.source.time_axis, loaded.length, loaded.systems, orders)


def judged_after_calibration(loaded: Loaded, options: Options, reductions: Mapping[str, Reduction]) -> dict[str, Reduction]:
    """What a choice of orders is judged by: calibrated on spectra if at all, since matching never makes that worse."""
    kind = "none" if options.calibrate == "none" else "spectrum"
    systems = calibrate_reductions(loaded, options, reductions, lambda stage, share: None, kind).systems
    return {name: dataclasses.replace(reduction, system=systems[name]) for name, reduction in reductions.items()}


def replace(loaded: Loaded, systems: Mapping[str, System]) -> nn.Module:
    """Put blocks with these systems in the layers' places."""
    try:
        return replace_layers(loaded.model, systems)
    except LayerError as error:
        raise UserError(str(error)) from error


def traced_model(replaced: nn.Module, loaded: Loaded) -> TracedModel:
    """Trace a model whose layers are blocks."""
    inputs = [
        InputAxes(name, loaded.source.time_axis, torch.from_numpy(value[:1])) for name, value in loaded.samples.held_out.items()
    ]
    try:
        return trace(exportable(replaced), inputs)
    except ExportError as error:
        raise UserError(str(error)) from error


def deployed_systems(reduced_model: nn.Module) -> dict[str, System]:
    """The systems of the float32 blocks that run, by layer."""
    return {name: block.system() for name, block in blocks(reduced_model).items()}


def output_bound(loaded: Loaded, traced: TracedModel, reduced_model: nn.Module, options: Options) -> dict[str, Any]:
    """Bound what the blocks that run do to the outputs."""
    deployed = deployed_systems(reduced_model)
    samples = first_samples(loaded.samples.calibration or loaded.samples.held_out, loaded.source.time_axis, BOUND_STEPS)
    return bound_record(Network(traced.program), loaded.systems, deployed, samples, horizon_of(options, loaded))


def export(traced: TracedModel, options: Options, folder: Path, progress: Progress) -> tuple[Streaming, tuple[StateRecord, ...]]:
    """Write offline.onnx and, where the model can stream, stream.onnx."""
    try:
        progress("export", 0.3)
        onnx.save(export_offline(traced), folder / "offline.onnx")
        progress("export", 0.6)
        try:
            graph, specifications = export_stream(traced, options.block)
        except StreamingError as error:
            return Streaming(False, None, str(error)), ()
        onnx.save(graph, folder / "stream.onnx")
    except ExportError as error:
        raise UserError(str(error)) from error
    states = tuple(StateRecord(s.input_name, s.output_name, s.shape, 0.0) for s in specifications)
    return Streaming(True, options.block, None), states
