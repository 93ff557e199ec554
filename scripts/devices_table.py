"""The tables of docs/devices.md: the C form on devices, and device graphs on other runtimes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MODELS = ("keywords", "activity", "sysid", "digits", "fashion")
GRAPHS = {"stream": "stream.device.onnx", "offline": "offline.device.onnx"}
LIMIT = 1e-4
"""Largest difference of a right answer."""


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


def runtimes(table: Mapping[str, Mapping[str, Mapping[str, float | str]]]) -> str:
    """Return the table of other runtimes: graph by graph the difference from onnxruntime for each model, or that it refuses."""
    lines = [f"| {' | '.join(('graph', 'runtime', *MODELS))} |", "| --- " * (len(MODELS) + 2) + "|"]
    for graph, rows in table.items():
        for name, row in sorted(rows.items(), key=lambda item: (not item[0].startswith("onnxruntime"), item[0])):
            cells = (f"`{GRAPHS.get(graph, graph)}`", name, *(_verdict(row.get(model, "")) for model in MODELS))
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _verdict(value: float | str) -> str:
    if isinstance(value, str):
        return f"**{value}**" if value.startswith("wrong") else "refused" if value else ""
    return f"{value:.0e}" if value <= LIMIT else f"**wrong: {value:.2g}**"


def processors(figures: Mapping[str, Any]) -> str:
    """Return the table of other processors: differences of both graphs in onnxruntime, and of the C form."""
    c = ("aarch64", "armv7", "riscv64")
    lines = [f"| {' | '.join(('model', 'stream.onnx, aarch64', 'offline.onnx, aarch64', *(f'C, {name}' for name in c)))} |"]
    lines.append("| --- " * 6 + "|")
    for model, row in figures.items():
        values = (row["onnxruntime"]["stream"], row["onnxruntime"]["offline"], *(row["c"][name] for name in c))
        lines.append(f"| {' | '.join((model, *(f'{value:.0e}' for value in values)))} |")
    return "\n".join(lines)


def budgets(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the table of builds by the size of a device."""
    lines = ["| model | asked for | published | orders |", "| --- " * 4 + "|"]
    for model, rows in figures.items():
        for asked, row in rows.items():
            if "refused" in row:
                lines.append(f"| {model} | `{asked}` | nothing: {row['refused']} | |")
            else:
                lines.append(f"| {model} | `{asked}` | {row['figure']:,.0f} | {', '.join(map(str, row['orders']))} |")
    return "\n".join(lines)
