"""Latencies: the candidate against the baseline, in pairs of fresh sessions, or both against the fixed workload."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np

from ssm2edge.errors import UserError
from ssm2edge.verification.clock import clock_for
from ssm2edge.verification.gate.baseline import Baseline
from ssm2edge.verification.gate.policy import Policy
from ssm2edge.verification.gate.report import Gate
from ssm2edge.verification.sequential import Decision, Outcome, decide
from ssm2edge.verification.sessions import Opener, compare_sessions, openers
from ssm2edge.verification.subject import Subject
from ssm2edge.verification.workload import workload

WORDS = {
    Outcome.PASSED: "no slower",
    Outcome.REGRESSION: "slower",
    Outcome.INCONCLUSIVE: "the interval spans the threshold",
}


def speed(
    candidate: Subject, baseline: Baseline, policy: Policy, progress: Callable[[str], None], seed: int | None
) -> Iterator[Gate]:
    """Compare latencies on the candidate's first held-out sequence.

    Raises
    ------
    UserError
        If the baseline takes other inputs, or was recorded with another number of threads.
    """
    percent = policy.threshold if baseline.artifact is not None else policy.other_machine
    if percent is None:
        return
    inputs = candidate.held_out(1)
    ours = {name: opener for name, opener in openers(candidate, inputs).items() if name in policy.graphs}
    recorded: dict[str, tuple[float, float, float]] = {}
    if baseline.artifact is not None:
        other = Subject.of(baseline.artifact, threads=candidate.threads)
        _check_inputs(candidate, other, baseline.name)
        theirs = openers(other, inputs)
    else:
        latency = baseline.manifest.latency
        known = {} if latency is None else latency.workload
        recorded = {name: (math.log(r.ratio), math.log(r.low), math.log(r.high)) for name, r in known.items()}
        if latency is not None and latency.threads != candidate.threads:
            raise UserError(
                f"The latencies of {baseline.name} were recorded with {latency.threads} threads; compare with --threads "
                f"{latency.threads}."
            )
        theirs = dict.fromkeys(recorded, workload(candidate.threads))
    names = [name for name in ours if name in theirs]
    for name in ours:
        if name not in theirs and (name in baseline.manifest.costs or baseline.artifact is None):
            detail = f"{baseline.name} has no latency of {name} to compare with"
            yield Gate(f"{name}.latency", None, None, None, Outcome.INCONCLUSIVE, detail)
    if names:
        yield from _decided(names, ours, theirs, recorded, 1.0 + percent / 100.0, candidate.threads, policy, progress, seed)


def _decided(
    names: list[str],
    ours: Mapping[str, Opener],
    theirs: Mapping[str, Opener],
    recorded: Mapping[str, tuple[float, float, float]],
    threshold: float,
    threads: int,
    policy: Policy,
    progress: Callable[[str], None],
    seed: int | None,
) -> Iterator[Gate]:
    clock, generator = clock_for(threads), np.random.default_rng(seed)
    measure = {name: partial(compare_sessions, theirs[name], ours[name], clock, generator) for name in names}
    # Relative to the workload, the candidate's ratio is divided by the recorded one, with its own uncertainty added.
    scale = {name: recorded.get(name, (0.0, 0.0, 0.0)) for name in names}
    decisions = decide(
        measure,
        {name: threshold * math.exp(scale[name][0]) for name in names},
        policy.sessions,
        policy.confidence,
        {name: (middle - high, middle - low) for name, (middle, low, high) in scale.items()},
        progress,
    )
    for name, decision in decisions.items():
        yield _gate(name, decision, math.exp(scale[name][0]), threshold, name in recorded)


def _gate(name: str, found: Decision, recorded: float, threshold: float, through_workload: bool) -> Gate:
    ratio, low, high = (value / recorded for value in (found.ratio, found.low, found.high))
    how = ", both relative to the calibration workload" if through_workload else ""
    detail = (
        f"{WORDS[found.outcome]}: {ratio:.4f} times the baseline's (interval {low:.4f} to {high:.4f}, threshold {threshold:.4f})"
        f"{how}, {found.sessions} pairs of sessions"
    )
    figures = {"ratio": ratio, "low": low, "high": high, "threshold": threshold, "sessions": float(found.sessions)}
    before = found.candidate / ratio if through_workload else found.baseline
    return Gate(f"{name}.latency", before, found.candidate, before * threshold, found.outcome, detail, figures, "s")


def _check_inputs(candidate: Subject, other: Subject, name: str) -> None:
    ours, theirs = ([(p.name, p.shape[1:], p.dtype) for p in subject.model.inputs] for subject in (candidate, other))
    if [(n, len(s), d) for n, s, d in ours] != [(n, len(s), d) for n, s, d in theirs]:
        raise UserError(
            f"{name} takes {', '.join(n for n, _, _ in theirs)}, the candidate {', '.join(n for n, _, _ in ours)}: they are not "
            "versions of one model, so there is nothing to compare."
        )
