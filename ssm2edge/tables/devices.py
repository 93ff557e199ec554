"""Tables of the C form on a target."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from ssm2edge.artifact import DeviceRecord
from ssm2edge.tables.artifact import checks_table
from ssm2edge.verification import Verdict


def show_device(console: Console, target: str, verdict: Verdict, record: DeviceRecord) -> None:
    """Print the checks of a target, its figures and the outcome."""
    console.print(checks_table(verdict))
    figures = {
        "flash": record.flash and f"{record.flash:,} bytes of flash",
        "ram": f"{record.ram:,} bytes of RAM" + (f", {record.stack:,} of them stack" if record.stack else ""),
        "instructions": record.instructions and f"{record.instructions:,} instructions a step",
        "seconds": record.seconds and f"{record.seconds * 1e6:.2f} us a step",
    }
    console.print(f"{target}: " + "; ".join(str(figure) for figure in figures.values() if figure) + f" ({record.compiler})")
    _show_outcome(console, verdict)


def show_checks(console: Console, verdict: Verdict) -> None:
    """Print checks and the outcome."""
    console.print(checks_table(verdict))
    _show_outcome(console, verdict)


def _show_outcome(console: Console, verdict: Verdict) -> None:
    failures = verdict.failures
    outcome = f"failed: {len(failures)} of {len(verdict.checks)} checks" if failures else f"passed: {len(verdict.checks)} checks"
    console.print(Text(outcome, style="bold red" if failures else "bold green"))
