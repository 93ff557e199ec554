"""The tables of docs/devices.md: the C form on devices, and device graphs on other runtimes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def markdown(figures: Mapping[str, Any]) -> str:
    """Return the table: one row for each model, its figures on a Cortex-M4 and on the host."""
    head = ("model", "flash, KB", "RAM with stack, bytes", "of it stack", "instructions a step", "largest difference")
    lines = [f"| {' | '.join((*head, 'a step in C, us', 'in onnxruntime, us'))} |", "| --- " * 8 + "|"]
    for name, row in figures.items():
        core = row["devices"]["cortex-m4"]
        cells = [
            name,
            f"{core['flash'] / 1e3:.1f}",
            f"{core['ram']:,}",
            f"{core['stack']:,}",
            f"{core['instructions']:,}",
            f"{row['error']:.0e}",
            f"{row['c']:.2f}",
            f"{row['onnxruntime']:.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def runtimes(table: Mapping[str, Mapping[str, float | str]]) -> str:
    """Return the table of other runtimes: one row for each, the difference from onnxruntime for each model, or its last words."""
    models = list(next(iter(table.values())))
    lines = [f"| {' | '.join(('runtime', *models))} |", "| --- " * (len(models) + 1) + "|"]
    for name, row in table.items():
        cells = [value if isinstance(value, str) else f"{value:.0e}" for value in (row[model] for model in models)]
        lines.append(f"| {' | '.join((name, *cells))} |")
    return "\n".join(lines)
