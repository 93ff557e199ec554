"""The checks of a build, on the folder that it fills."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm2edge.artifact import PROBES, LayerRecord, Reference
from ssm2edge.errors import VerificationError
from ssm2edge.options import Options, bytes_of
from ssm2edge.original.task import Task
from ssm2edge.stages.budgets import ram
from ssm2edge.stages.probe import probe
from ssm2edge.stages.progress import Progress
from ssm2edge.stages.replace import Reduced
from ssm2edge.stages.respond import respond
from ssm2edge.verification import Limits, Subject, Verdict, examine


def verified(
    task: Task,
    reduced: Reduced,
    original: Mapping[str, NDArray[np.float32]],
    records: tuple[LayerRecord, ...],
    bound: Mapping[str, Any],
    options: Options,
    folder: Path,
    progress: Progress,
) -> tuple[Subject, Verdict]:
    """Write the packs of references, probes and responses, and run every check.

    Raises
    ------
    VerificationError
        If the graphs do not compute the reduced model, or the artifact loses more than it may on samples that chose nothing.
    """
    progress("verify", 0.0)
    reference = Reference(dict(task.held_out), dict(original), dict(reduced.outputs), task.samples.labels)
    reference.save(folder)
    losses = [points for points in (options.max_loss, options.max_drop) if points is not None]
    by_error = options.max_error if options.max_error_of == "measured" else None
    limits = Limits(
        drop=min(losses, default=None), error=by_error, bytes=bytes_of(options.max_bytes), latency=options.max_latency
    )
    subject = Subject.staged(folder, reference, {record.name: record.spectral_radius for record in records}, limits)
    probes = probe(task, reduced)
    probes.save(folder, PROBES)
    responses = respond(task.systems, reduced.systems, subject.model.layer_inputs, task.horizon)
    responses.save(folder)
    samples = "synthetic" if task.samples.known else subject.samples
    subject = dataclasses.replace(subject, probes=probes, bound=bound, responses=responses, samples=samples)
    verdict = examine(subject, lambda name: progress(f"verify {name}", 0.0))
    if (budget := ram(folder, task, options)) is not None:
        verdict = dataclasses.replace(verdict, checks=(*verdict.checks, budget))
    if not verdict.passed:
        failed = "; ".join(f"{check.name}: {check}" for check in verdict.failures)
        raise VerificationError(f"The artifact failed its verification and was not published ({failed}).", verdict)
    return subject, verdict
