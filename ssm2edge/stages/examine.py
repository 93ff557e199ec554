"""The checks of a build, on the folder that it fills."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm2edge.artifact import PROBES, LayerRecord, Reference
from ssm2edge.artifact.loss import more_states
from ssm2edge.errors import VerificationError
from ssm2edge.options import Options, bytes_of
from ssm2edge.original.task import Task
from ssm2edge.stages.budgets import ram
from ssm2edge.stages.probe import probe
from ssm2edge.stages.progress import Progress
from ssm2edge.stages.replace import Reduced
from ssm2edge.stages.respond import respond
from ssm2edge.verification import Limits, Subject, Verdict, examine

LOSSES = ("accuracy", "nrmse")
"""Checks that judge by labels."""


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
    by_error = options.max_error if options.max_error_of == "measured" else None
    limits = Limits(
        drop=min(_losses(options).values(), default=None),
        error=by_error,
        bytes=bytes_of(options.max_bytes),
        latency=options.max_latency,
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
        matched = options.calibrate == "match" and len(next(iter(task.samples.calibration.values()))) > task.samples.synthetic
        raise VerificationError(refusal(verdict, options, matched), verdict)
    return subject, verdict


def refusal(verdict: Verdict, options: Options, matched: bool) -> str:
    """Return the sentence on an artifact that is not published: whether it is wrong, or only loses more than was allowed.

    Parameters
    ----------
    verdict
        With checks that failed.
    options
        With the largest loss.
    matched
        Whether the layers were matched on the user's samples.
    """
    failed = "; ".join(f"{check.name}: {check}" for check in verdict.failures)
    losses = _losses(options)
    if not losses or any(check.name.partition(".")[0] not in LOSSES for check in verdict.failures):
        return f"The artifact failed its verification and was not published ({failed})."
    option = min(losses, key=lambda name: losses[name])
    mend = f"{more_states(matched)} or allow a larger loss."
    if option == "--max-drop" and options.retrain is not None:
        mend = "Its size was chosen before it was trained: change the training, or allow a larger --max-drop."
    elif option == "--max-drop":
        mend = (
            "The samples that chose its size lost less by luck: give more of them, a higher --confidence, or a larger --max-drop."
        )
    return f"The artifact loses more than {option} {losses[option]:g} allows, and was not published ({failed}). {mend}"


def _losses(options: Options) -> dict[str, float]:
    """Return the largest losses that are allowed, by option."""
    allowed = {"--max-loss": options.max_loss, "--max-drop": options.max_drop}
    return {name: points for name, points in allowed.items() if points is not None}
