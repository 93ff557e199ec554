"""What `ssm2edge build` does, told once."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ssm2edge.artifact import PROBES, Manifest, Reference, seal, staging
from ssm2edge.cache import Store
from ssm2edge.loading import Source
from ssm2edge.options import Options, check_options
from ssm2edge.original.batches import measure_original
from ssm2edge.original.devices import open_device
from ssm2edge.original.latency import compare_with_original
from ssm2edge.original.recording import record_outputs
from ssm2edge.stages.calibrate import calibrate_reductions, calibration_signals
from ssm2edge.stages.costs import graph_costs
from ssm2edge.stages.defaults import decided
from ssm2edge.stages.describe import describe, layer_records
from ssm2edge.stages.export import check_exportable, export
from ssm2edge.stages.feedthrough import with_feedthrough
from ssm2edge.stages.inspect import Inspection, inspect_layer
from ssm2edge.stages.load import Loaded, horizon_of, load, original_outputs
from ssm2edge.stages.probe import probe
from ssm2edge.stages.reduce import check_order, reduce
from ssm2edge.stages.replace import deployed_systems, output_bound, replace, traced_model
from ssm2edge.stages.report import draw_up, write_page
from ssm2edge.stages.respond import respond
from ssm2edge.verification import Subject, Verdict, examine, relative_latencies

__all__ = ["Built", "Loaded", "VerificationError", "build", "inspect", "load", "replace", "traced_model"]

Progress = Callable[[str, float], None]
"""Called with the stage's name and the share of it that is done."""


@dataclass(frozen=True, eq=False)
class Built:
    """A published artifact and the verdict on it."""

    directory: Path
    manifest: Manifest
    verdict: Verdict
    seconds: float
    decided: str | None = None
    """What was decided in place of a user who did not say how small the model should become, and why."""


def build(source: Source, options: Options, out: Path, force: bool, progress: Progress, rebuild: bool = False) -> Built:
    """Build, verify and publish an artifact; what earlier builds finished is taken from the cache beside it, unless ``rebuild``.

    Raises
    ------
    UserError
        If what the user gave cannot be used, or the output directory is taken.
    VerificationError
        If the artifact does not compute what the reduced model computes; nothing is published then.
    """
    start = time.monotonic()
    check_options(options)
    device = open_device(options.device)
    store = Store.beside(out, rebuild)
    with staging(out, force) as folder:
        progress("load", 0.0)
        loaded = load(source, options.trust_pickle)
        options, reason = decided(options, loaded)
        loaded = with_feedthrough(loaded, options)
        check_order(loaded, options)
        # What is wrong with the model or the samples is said before anything takes long.
        check_exportable(loaded, options)
        if options.calibrate != "none":
            calibration_signals(loaded, dict.fromkeys(loaded.layers, 1))
        progress("original", 0.0)
        held_out, axis = loaded.samples.held_out, source.time_axis
        original = original_outputs(loaded, device, store, lambda share: progress("original", share))
        progress("reduce", 0.0)
        reductions = reduce(loaded, options, original, store, lambda step: progress(f"reduce {step}", 0.0))
        calibrated = calibrate_reductions(loaded, options, reductions, store, progress)
        progress("replace", 0.0)
        reduced_model = replace(loaded, calibrated.systems)
        reduced = record_outputs(reduced_model, held_out, axis, lambda share: progress("replace", share))
        progress("export", 0.0)
        traced = traced_model(reduced_model, loaded)
        streaming, states = export(traced, loaded.length, options, folder, progress)
        progress("bound", 0.0)
        bound = output_bound(loaded, traced, reduced_model, options)
        progress("verify", 0.0)
        reference = Reference(dict(held_out), original, reduced, loaded.samples.labels)
        reference.save(folder)
        deployed = deployed_systems(reduced_model)
        records = layer_records(loaded.layers, deployed, reductions)
        subject = Subject.staged(folder, reference, {record.name: record.spectral_radius for record in records})
        probes = probe(loaded, reduced_model, traced.multiple, traced.shortest)
        probes.save(folder, PROBES)
        responses = respond(loaded.systems, deployed, subject.model.layer_inputs, horizon_of(options, loaded))
        responses.save(folder)
        subject = dataclasses.replace(subject, probes=probes, bound=bound, responses=responses)
        verdict = examine(subject, lambda name: progress(f"verify {name}", 0.0))
        if not verdict.passed:
            raise VerificationError(verdict)
        progress("measure latency", 0.0)
        sample = [x[:1] for x in held_out.values()]
        latency, measured = compare_with_original(loaded.model, folder, sample, relative_latencies(subject))
        if device.kind != "cpu":
            measured = measure_original(loaded.model, list(held_out.values()), device)
        progress("report", 0.0)
        figures = draw_up(loaded, options, deployed, reference, folder, streaming, states)
        manifest = describe(
            loaded, options, reduced_model, records, calibrated=calibrated, bound=bound, verdict=verdict, latency=latency,
            original=measured, costs=graph_costs(folder, loaded.length), streaming=streaming, states=states,
        )  # fmt: skip
        write_page(folder, manifest, figures, out)
        progress("publish", 0.0)
        manifest = seal(folder, manifest)
    store.clean()
    return Built(out, manifest, verdict, time.monotonic() - start, reason)


class VerificationError(Exception):
    """An artifact that failed its own checks; it was not published."""

    def __init__(self, verdict: Verdict) -> None:
        failed = "; ".join(f"{check.name}: {check.detail}" for check in verdict.failures)
        super().__init__(f"The artifact failed its verification and was not published ({failed}).")
        self.verdict = verdict


def inspect(source: Source, horizon: int | str | None, trust_pickle: bool, progress: Callable[[str], None]) -> Inspection:
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
        reports.append(inspect_layer(layer, taps, loaded.length))
    return Inspection(tuple(reports), loaded.refused)
