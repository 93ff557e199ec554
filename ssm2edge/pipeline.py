"""The stages of `ssm2edge build`, in their order."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from ssm2edge.artifact import Manifest, seal, staging
from ssm2edge.cache import Store
from ssm2edge.layers import around
from ssm2edge.loading import Source
from ssm2edge.options import Options, options_from
from ssm2edge.original.calling import left_out
from ssm2edge.original.devices import open_device
from ssm2edge.original.task import Task
from ssm2edge.quantisation import bytes_by_precision, weights_of
from ssm2edge.stages.compress import compress, compressed_already
from ssm2edge.stages.converging import converging
from ssm2edge.stages.costs import graph_costs
from ssm2edge.stages.describe import describe, layer_records
from ssm2edge.stages.examine import verified
from ssm2edge.stages.export import check_exportable, export
from ssm2edge.stages.inspect import Inspection, inspect_layer
from ssm2edge.stages.load import load, original_outputs
from ssm2edge.stages.measure import measure
from ssm2edge.stages.progress import Progress, announcing, silent
from ssm2edge.stages.reach import check_reach
from ssm2edge.stages.replace import output_bound, replace
from ssm2edge.stages.report import draw_up, write_page
from ssm2edge.stages.resolve import as_they_are, check, resolve
from ssm2edge.stages.retrain import retrain, trainer_of
from ssm2edge.systems.stability import is_stable
from ssm2edge.traced import forgetting_traces
from ssm2edge.verification import Verdict
from ssm2edge.workers import giving_memory_back, one_thread_each

__all__ = ["Built", "build", "inspect", "load"]

PLANNED = 1024
"""Samples of the sequences for which kernels are planned where no samples are given."""


@dataclass(frozen=True, eq=False)
class Built:
    """A published artifact and the verdict on it.

    Attributes
    ----------
    directory
        Where it is.
    manifest, verdict
        What it is, and the checks that it passed.
    seconds
        How long the build took.
    decided
        Sentences on the size and the block that were decided in place of a user who gave none, and why, and on parts of the
        model's answer that are left out.
    """

    directory: Path
    manifest: Manifest
    verdict: Verdict
    seconds: float
    decided: str | None = None


@giving_memory_back()
@forgetting_traces()
def build(
    source: Source | Callable[[], Task],
    options: Options,
    out: Path,
    force: bool = False,
    progress: Progress = silent,
    rebuild: bool = False,
    compressed: nn.Module | None = None,
) -> Built:
    """Build, verify and publish an artifact.

    Parameters
    ----------
    source
        The user's description of the model, or a function that returns the task.
    options
        How to build.
    out
        Directory to make.
    force
        Replace an artifact that is there.
    progress
        Called as the stages go on.
    rebuild
        Compute everything again; otherwise finished stages of earlier builds are taken from the cache beside ``out``.
    compressed
        The model with reduced blocks, where it is there already; it is not reduced again.

    Raises
    ------
    UserError
        If what the user gave cannot be used, or the output directory is taken.
    VerificationError
        If the artifact does not compute what the reduced model computes; nothing is published then.
    """
    start, progress = time.monotonic(), announcing(progress)
    check(options)
    options = options if compressed is None else as_they_are(options)
    device, store = open_device(options.device), Store.beside(out, rebuild)
    # The artifact does not depend on the number of threads.
    with converging(), staging(out, force) as folder, one_thread_each():
        progress("load", 0.0)
        trainer = trainer_of(options)
        task, options, decided = resolve(load(source) if isinstance(source, Source) else source(), options)
        options, blocked = check_exportable(task, options)
        check_reach(task, options, progress)
        original = original_outputs(task, task.held_out, device, store, progress)
        if compressed is None:
            found = compress(task, options, store, progress)
        else:
            task, found = compressed_already(task, around(task.model, compressed), options)
        if trainer is not None:
            task, found = retrain(task, found, options, trainer, store, progress)
        reduced = replace(task, found.model, progress)
        graphs = export(reduced.traced, task.length, options, folder, progress)
        owned = compressed is not None or trainer is not None
        bound = output_bound(task, reduced, options, progress, owned)
        records = layer_records(task.layers, reduced.systems, found.reductions)
        subject, verdict = verified(task, reduced, original, records, bound, options, folder, progress)
        latency, measured = measure(task, subject, folder, device, progress)
        progress("report", 0.0)
        figures = draw_up(task, reduced, subject.reference, graphs, folder)
        manifest = describe(
            task, options, reduced, records, matched=found.matched, bound=bound, verdict=verdict, latency=latency,
            original=measured, costs=graph_costs(folder, task.length), graphs=graphs,
            selection=found.selection, weights=found.weights,
        )  # fmt: skip
        write_page(folder, manifest, figures, out)
        progress("publish", 0.0)
        manifest = seal(folder, manifest)
    store.clean()
    sentences = filter(None, (left_out(task.model), decided, blocked))
    return Built(out, manifest, verdict, time.monotonic() - start, " ".join(sentences) or None)


@converging()
def inspect(source: Source | Callable[[], Task], horizon: int | str | None, progress: Callable[[str], None]) -> Inspection:
    """Find the layers of a model and measure each.

    Raises
    ------
    UserError
        If anything the user gave cannot be used.
    """
    task = load(source) if isinstance(source, Source) else source()
    given = None if horizon == "inf" else horizon
    taps = task.horizon if isinstance(given, str) else given
    method = options_from(task.source.defaults, {}).method
    length = task.length if task.held_out else PLANNED
    reports = []
    for name, layer in task.layers.items():
        progress(name)
        # The infinite horizon has no figures of an unstable layer.
        counted = taps if bool(is_stable(layer.system).all()) else taps or length
        reports.append(inspect_layer(layer, counted, length, method))
    return Inspection(tuple(reports), task.refused, bytes_by_precision(weights_of(task.full)))
