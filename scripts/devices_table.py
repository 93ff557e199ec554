"""The table of the C form in docs/devices.md, made of docs/devices.json."""

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
