"""The whole gate: first figures without noise, then measured ones, then latencies."""

from __future__ import annotations

import time
from collections.abc import Callable

from ssm2edge.artifact import Artifact
from ssm2edge.errors import UserError
from ssm2edge.verification.clock import clock_for
from ssm2edge.verification.environment import environment
from ssm2edge.verification.gate.baseline import Baseline
from ssm2edge.verification.gate.counted import counted
from ssm2edge.verification.gate.measured import measured
from ssm2edge.verification.gate.policy import Policy
from ssm2edge.verification.gate.report import Gate, GateReport
from ssm2edge.verification.gate.speed import speed
from ssm2edge.verification.subject import Subject


def compare(
    candidate: Artifact,
    baseline: Baseline,
    policy: Policy,
    *,
    threads: int = 1,
    progress: Callable[[str], None] | None = None,
    seed: int | None = None,
) -> GateReport:
    """Compare an artifact with its baseline.

    Parameters
    ----------
    candidate
        The artifact under test.
    baseline
        The artifact or manifest to compare with.
    policy
        Limits of the differences.
    threads
        Threads within an operator.
    progress
        Called with the name of each comparison.
    seed
        Of the order in which sessions are built and timed; a new one every time unless given.

    Raises
    ------
    UserError
        If the two are not versions of one model.
    """
    start = time.monotonic()
    for head in ("", *baseline.manifest.heads):
        metrics = [manifest.metric(head) for manifest in (candidate.manifest, baseline.manifest)]
        if None not in metrics and metrics[0] != metrics[1]:
            raise UserError(
                f"{candidate.directory} is judged by {metrics[0]}, {baseline.name} by {metrics[1]}: they are no versions of one "
                "model, so there is nothing to compare."
            )
    layers = [{layer.name for layer in manifest.layers} for manifest in (candidate.manifest, baseline.manifest)]
    if all(layers) and layers[0].isdisjoint(layers[1]):
        raise UserError(
            f"{candidate.directory} and {baseline.name} have no reduced layer in common ({min(layers[0])}, {min(layers[1])}): "
            "they are no versions of one model; accept a new baseline if the layers were renamed."
        )
    report = progress if progress is not None else lambda step: None
    subject = Subject.of(candidate, threads=threads)
    gates: list[Gate] = [
        *counted(candidate.manifest, baseline.manifest, policy),
        *measured(subject, baseline.manifest, policy, report),
        *speed(subject, baseline, policy, report, seed),
    ]
    return GateReport(
        tuple(gates),
        str(candidate.directory),
        baseline.name,
        environment(threads),
        clock_for(threads).name,
        time.monotonic() - start,
    )
