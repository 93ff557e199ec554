"""The latency table as text and as Markdown, from the figures alone: no measuring, no other package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]
"""One row: what, against, target, ratio (with its interval), met, and what bounds it where it is missed."""


def markdown(figures: Mapping[str, Any]) -> str:
    """The table of all figures."""
    lines = ["| what | against | target | measured (95 % interval) | |", "|---|---|---|---|---|"]
    for record in figures["rows"]:
        verdict = "met" if record["met"] else f"missed by {_missed(record)}"
        lines.append(f"| {record['what']} | {record['against']} | {_target(record)} | {_measured(record)} | {verdict} |")
    return "\n".join([*lines, "", f"{figures['processor']}, onnxruntime {figures['onnxruntime']}, torch {figures['torch']}."])


def text(records: Sequence[Record]) -> str:
    """The same for a terminal, with medians and with what bounds a row that is missed."""
    lines = []
    for record in records:
        verdict = "met" if record["met"] else f"MISSED by {_missed(record)}"
        lines.append(f"{record['what']}; against {record['against']}: {_measured(record)} (target {_target(record)}) {verdict}")
        if record["medians"]:
            lines.append("    " + ", ".join(f"{name} {_time(seconds)}" for name, seconds in record["medians"].items()))
        if not record["met"] and record["bound_by"]:
            lines.append("    bound by " + ", ".join(f"{name} {share:.0%}" for name, share in record["bound_by"].items()))
    return "\n".join(lines)


def _target(record: Record) -> str:
    return f"<= {_number(record['target'])}{_unit(record)}"


def _measured(record: Record) -> str:
    middle, low, high = record["ratio"]
    value = f"{_number(middle)}{_unit(record)}"
    return value if low == high else f"{value} ({_number(low)} to {_number(high)})"


def _missed(record: Record) -> str:
    return f"{(record['ratio'][0] / record['target'] - 1) * 100:.0f} %"


def _unit(record: Record) -> str:
    return f" {record['unit']}" if record["unit"] else ""


def _number(value: float) -> str:
    return f"{value:.4f}" if value < 0.1 else f"{value:.2f}" if value < 100 else f"{value:.0f}"


def _time(seconds: float) -> str:
    return f"{seconds * 1e6:.1f} us" if seconds < 1e-3 else f"{seconds * 1e3:.2f} ms"
