"""All checks in order.  A failed check fails: nothing here turns an error into a warning."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace

from ssm2edge.artifact import Accuracy, Artifact, open_artifact
from ssm2edge.runtime import EdgeError
from ssm2edge.verification import accuracy, bounded, budget, layers, nrmse, offline, responses, stability, streaming
from ssm2edge.verification.check import Check, Verdict
from ssm2edge.verification.subject import LIMITS, Limits, Subject

Progress = Callable[[str], None]
Named = tuple[str, Callable[[Subject], Check | None]]

OFFLINE: tuple[Named, ...] = (
    ("offline.parity", offline.parity),
    ("offline.error", offline.output_error),
    ("offline.allowed_error", offline.allowed_error),
    ("budget.bytes", budget.size),
    ("budget.latency", budget.latency),
    ("offline.probes", layers.probes),
    ("layers.parity", layers.parity),
    ("bound.certified", bounded.certified),
    ("offline.batches", offline.batches),
    ("offline.lengths", offline.lengths),
)
STREAMING: tuple[Named, ...] = (
    ("streaming.fresh", streaming.fresh),
    ("streaming.carried", streaming.carried),
    ("streaming.ragged", streaming.ragged),
    ("streaming.rows", streaming.rows),
    ("streaming.restored", streaming.restored),
    ("streaming.lengths", streaming.lengths),
    ("streaming.probes", streaming.probes),
    ("stability.silence", stability.silence),
)

Judge = Callable[[Subject, str, Accuracy], Check]

METRICS: tuple[tuple[Callable[[Subject, str], Accuracy | None], Judge], ...] = (
    (accuracy.measure, accuracy.accuracy),
    (nrmse.measure, nrmse.nrmse),
)
"""Metrics of outputs on held-out samples: each output has the first that its labels allow."""


def verify(
    directory: str | os.PathLike[str] | Artifact, *, limits: Limits = LIMITS, threads: int = 1, progress: Progress | None = None
) -> Verdict:
    """Verify a build directory from its own files, without torch and without the model's code.

    Parameters
    ----------
    directory
        Build directory, or the artifact that `open_artifact` returned for it.
    limits
        Limits of the checks.
    threads
        Threads within an operator.
    progress
        Called with the name of each check before it runs.

    Raises
    ------
    ArtifactError
        If the directory is damaged, tampered with, or of another schema: there is nothing to verify then.
    """
    artifact = directory if isinstance(directory, Artifact) else open_artifact(directory)
    files = len(artifact.manifest.files)
    intact = Check("integrity", float(files), None, True, f"size and SHA-256 of {files} files are those of the manifest")
    verdict = examine(Subject.of(artifact, limits, threads), progress)
    return replace(verdict, checks=(intact, *verdict.checks))


def examine(subject: Subject, progress: Progress | None = None) -> Verdict:
    """Run every check that applies to a subject; a check that cannot run, runs into an error or is not finite, fails."""
    checks: list[Check] = []
    measured: dict[str, Accuracy] = {}
    for name, check in _applicable(subject):
        if progress is not None:
            progress(name)
        checks += run_check(name, check, subject)
    if all(check.passed for check in checks if check.name == "offline.error"):
        for output in subject.reference.labels:
            found = judged(subject, output)
            if found is not None:
                measured[output], judge = found
                checks.append(judge(subject, output, measured[output]))
    named = any(check.name == "layers.parity" for check in checks)
    return Verdict(
        tuple(checks),
        next(iter(measured.values()), None),
        layers.layer_errors(subject) if named else (),
        {} if subject.reference.one_head else measured,
    )


def judged(subject: Subject, output: str) -> tuple[Accuracy, Judge] | None:
    """Return the measured accuracies of an output and the check of them; None if no metric takes its labels."""
    for measure, judge in METRICS:
        if (found := measure(subject, output)) is not None:
            return found, judge
    return None


def _applicable(subject: Subject) -> Iterator[Named]:
    yield "stability.poles", stability.poles
    yield from OFFLINE
    yield from responses.checks(subject)
    if subject.stream is not None:
        yield from STREAMING


def run_check(name: str, check: Callable[[Subject], Check | None], subject: Subject) -> list[Check]:
    """Run one check; return its result, None if it does not apply, a failure if the runtime cannot run it."""
    try:
        result = check(subject)
    except EdgeError as fault:
        return [Check(name, None, None, False, str(fault))]
    return [] if result is None else [result]
