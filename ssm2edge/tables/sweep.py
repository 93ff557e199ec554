"""The table of a sweep."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ssm2edge.artifact.sweep import CellRecord, ChoiceRecord, SweepRecord

MOST = 60
"""Cells that are shown; the page has all of them."""


def show_sweep(console: Console, directory: Path, record: SweepRecord) -> None:
    """Print the cells, the sentences of those that failed, and where the page is."""
    several = len(record.sources) > 1
    varied = varied_options(record)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in (*(["model"] if several else []), *varied):
        table.add_column(title.replace("_", " "))
    for title in ("metric", "original", "artifact", "loss", "KiB", "ms", "s"):
        table.add_column(title, justify="right")
    done = [cell for cell in record.cells if cell.status == "done"]
    for cell in done[:MOST]:
        named = [cell.model] if several else []
        table.add_row(*named, *("" if name not in cell.options else str(cell.options[name]) for name in varied), *_figures(cell))
    if done:
        console.print(table)
    if len(done) > MOST:
        console.print(f"... and {len(done) - MOST:,} more cells: sweep.csv has all of them.")
    failures = [cell for cell in record.cells if cell.status == "failed"]
    for cell in failures:
        console.print(Text(f"{cell.model} {words(cell)} failed: {cell.error}", style="red"), soft_wrap=True)
    left = len(record.cells) - len(done) - len(failures)
    counts = f"{len(done)} done, {len(failures)} failed" + (f", {left} left" if left else "")
    console.print(Text(f"{counts}; {directory}/sweep.html shows them.", style="bold red" if failures or left else "bold green"))


def varied_options(record: SweepRecord) -> list[str]:
    """Return the options in which cells differ."""
    names = dict.fromkeys(name for cell in record.cells for name in cell.options)
    return [name for name in names if len({str(cell.options.get(name)) for cell in record.cells}) > 1]


def words(cell: CellRecord) -> str:
    """Return the options of a cell in words."""
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in cell.options.items()) or "as it is by default"


def outcome(cell: CellRecord) -> str:
    """Return what came of a cell, in a few words."""
    if cell.status == "failed" or cell.figures is None:
        return f"failed: {cell.error}"
    metric, _, value, *_, size, latency, _ = _figures(cell)
    shown = f"{metric} {value}, " if metric else ""
    took = "" if cell.seconds is None else f", {cell.seconds:.1f} s"
    return f"{shown}{size} KiB, {latency} ms{took}"


def chosen_sentence(choice: ChoiceRecord) -> str:
    """Return what was picked, and what speaks for it."""
    text = f"Picked {choice.name}"
    if choice.loss is not None:
        text += (
            f": on the {choice.choosing:,} samples that chose it loses {choice.loss:.2f} points, at most {choice.bound:.2f} with "
            f"a confidence of {100 * choice.confidence:g} % ({choice.compared} cells compared)"
        )
    if choice.judged is not None:
        text += f"{':' if choice.loss is None else ';'} on {choice.judging:,} other samples it loses {choice.judged:.2f} points"
    return f"{text}."


def _figures(cell: CellRecord) -> list[str]:
    found = cell.figures
    if found is None:
        return [""] * 7

    def shown(value: float | None, form: str) -> str:
        return "" if value is None else format(value, form)

    latency = None if found.latency is None else 1e3 * found.latency
    return [found.metric or "", shown(found.original, ".4f"), shown(found.artifact, ".4f"), shown(found.loss, "+.2f"),
        f"{found.bytes / 1024:.1f}", shown(latency, ".3g"), shown(cell.seconds, ".1f")]  # fmt: skip
