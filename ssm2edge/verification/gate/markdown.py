"""The gate's report as Markdown, for the summary of a CI run."""

from __future__ import annotations

from ssm2edge.verification.gate.report import Gate, GateReport
from ssm2edge.verification.sequential import Outcome

MARKS = {Outcome.PASSED: "pass", Outcome.REGRESSION: "**REGRESSION**", Outcome.INCONCLUSIVE: "inconclusive"}

HEADLINES = {
    Outcome.PASSED: "No regression",
    Outcome.REGRESSION: "Regression",
    Outcome.INCONCLUSIVE: "Inconclusive: measure again, or on a quieter machine",
}


def to_markdown(report: GateReport) -> str:
    """Return one headline, one table, and one line on the machine."""
    lines = [
        f"### {HEADLINES[report.outcome]}",
        "",
        f"`{report.candidate}` against `{report.baseline}`",
        "",
        "| gate | baseline | candidate | limit | outcome | |",
        "|---|---|---|---|---|---|",
        *(_row(gate) for gate in report.gates),
        "",
        f"{report.environment.processor}, onnxruntime {report.environment.onnxruntime}, {report.environment.threads} thread"
        f"{'s' if report.environment.threads > 1 else ''}, {report.clock} time, {report.seconds:.1f} s.",
    ]
    return "\n".join(lines) + "\n"


def _row(gate: Gate) -> str:
    detail = gate.detail.replace("|", "\\|")
    return f"| {gate.name} | {' | '.join(gate.figures)} | {MARKS[gate.outcome]} | {detail} |"
