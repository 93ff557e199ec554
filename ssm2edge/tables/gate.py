"""The gate's report for people."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from ssm2edge.tables.parts import titled_table
from ssm2edge.verification.gate import GateReport
from ssm2edge.verification.gate.markdown import HEADLINES
from ssm2edge.verification.sequential import Outcome

STYLES = {Outcome.PASSED: "green", Outcome.REGRESSION: "bold red", Outcome.INCONCLUSIVE: "bold yellow"}


def show_gates(console: Console, report: GateReport) -> None:
    """Print every gate with its figures, and the outcome."""
    title = f"{report.candidate} against {report.baseline}"
    table = titled_table(title, "gate", "baseline", "candidate", "limit", "", "what was compared")
    for gate in report.gates:
        table.add_row(gate.name, *gate.figures, Text(gate.outcome.value, style=STYLES[gate.outcome]), gate.detail)
    threads = f"{report.environment.threads} thread{'s' if report.environment.threads > 1 else ''}"
    table.caption = (
        f"{report.environment.processor}, onnxruntime {report.environment.onnxruntime}, {threads}, {report.clock} time, "
        f"{report.seconds:.1f} s"
    )
    console.print(table)
    console.print(Text(HEADLINES[report.outcome], style=STYLES[report.outcome]))
