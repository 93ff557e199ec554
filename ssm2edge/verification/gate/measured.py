"""Measured figures of the candidate: parity, streaming, error and accuracy on its reference pack."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ssm2edge.artifact import Manifest
from ssm2edge.artifact.reference import first_output
from ssm2edge.verification import nrmse, offline, streaming
from ssm2edge.verification.check import Check
from ssm2edge.verification.gate.counted import at_most
from ssm2edge.verification.gate.policy import Policy
from ssm2edge.verification.gate.report import Gate
from ssm2edge.verification.sequential import Outcome
from ssm2edge.verification.subject import Subject
from ssm2edge.verification.verify import judged, run_check

PROMISES: tuple[tuple[str, Callable[[Subject], Check | None]], ...] = (
    ("offline.parity", offline.parity),
    ("streaming.fresh", streaming.fresh),
    ("streaming.carried", streaming.carried),
)
"""Checks of `verify` that a candidate must pass whatever its baseline: it computes the built model, from state to state."""


def measured(candidate: Subject, baseline: Manifest, policy: Policy, progress: Callable[[str], None]) -> Iterator[Gate]:
    """Run the required checks of the candidate, and compare its error and accuracy with the baseline's."""
    for name, check in PROMISES:
        if name.startswith("streaming") and candidate.stream is None:
            continue
        progress(name)
        for result in run_check(name, check, candidate):
            yield _promised(result)
    yield from _error(candidate, baseline, policy)
    yield from _accuracy(candidate, baseline, policy)


def _promised(check: Check) -> Gate:
    outcome = Outcome.PASSED if check.passed else Outcome.REGRESSION
    return Gate(check.name, None, check.figure, check.limit, outcome, check.detail)


def _error(candidate: Subject, baseline: Manifest, policy: Policy) -> Iterator[Gate]:
    before = next((c.get("figure") for c in (baseline.parity or {}).get("checks", []) if c.get("name") == "offline.error"), None)
    percent = policy.increase["error"]
    if not isinstance(before, float | int) or percent is None:
        return
    (check,) = run_check("offline.error", offline.output_error, candidate)
    if check.figure is None:
        yield _promised(check)
        return
    # Outputs differ between processors by rounding, within the limit of parity.
    yield at_most("error", check.figure, float(before), percent, candidate.limits.parity)


def _accuracy(candidate: Subject, baseline: Manifest, policy: Policy) -> Iterator[Gate]:
    if policy.points is None:
        return
    for head, recorded in baseline.judged.items():
        output = head or first_output(candidate.reference.original)
        found = judged(candidate, output) if output in candidate.reference.labels else None
        before = recorded.artifact
        if found is None:
            detail = "the baseline has an accuracy, but the candidate's pack has no labels to measure it by"
            name = f"accuracy.{head}" if head else "accuracy"
            yield Gate(name, before, None, None, Outcome.REGRESSION, detail)
            continue
        measured, judge = found
        check = judge(candidate, output, measured)
        # An answer may depend on rounding, which differs between processors: one sample is no regression.
        rise = judge is nrmse.nrmse
        slack = policy.points / 100.0 + (0.0 if rise else 1.0 / measured.samples)
        now = measured.artifact
        limit = before + slack if rise else before - slack
        passed = check.passed and (now <= limit if rise else now >= limit)
        detail = f"{before:.4f} before, {now:.4f} now, {policy.points:g} points of loss allowed; {check.detail}"
        yield Gate(check.name, before, now, limit, Outcome.PASSED if passed else Outcome.REGRESSION, detail)
