"""The table of docs/results.md on a sweep, from docs/sweep.json.

That is the part of the sweep models/tables.toml that `ssm2edge sweep models/keywords --orders 16,8,4,2,1 --precision float32,int8
--calibrate spectrum --out sweep` builds, too; `scripts/reproduce_tables.py` writes the file, `scripts/write_pages.py` the table.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

FIGURES = Path(__file__).resolve().parent.parent / "docs" / "sweep.json"
Cell = dict[str, Any]


def markdown(sweep: dict[str, Any]) -> str:
    """Return the table: a row for each model and order, and for each precision what its cell loses and how large it is."""
    cells = [cell for cell in sweep["cells"] if cell["status"] == "done"]
    widths = list(dict.fromkeys(_precision(cell) for cell in cells))
    head = ["model", "states kept", *(f"{title}, {width}" for width in widths for title in ("accuracy", "KB"))]
    lines = [f"| {' | '.join(head)} |", "| --- " * len(head) + "|"]
    for model in dict.fromkeys(cell["model"] for cell in cells):
        for order in sorted({cell["options"]["order"] for cell in cells}, reverse=True):
            found = {_precision(cell): cell for cell in cells if (cell["model"], cell["options"]["order"]) == (model, order)}
            lines.append(_row([model, str(order), *(part for width in widths for part in _figures(found.get(width)))]))
    originals = {cell["model"]: cell["figures"]["original"] for cell in cells}
    return "\n".join([*lines, "", f"Originals: {', '.join(f'{model} {value:.4f}' for model, value in originals.items())}."])


def of_the_picture(sweep: dict[str, Any]) -> dict[str, Any] | None:
    """Return the cells of a larger sweep that the page is about, as a sweep of its own; None where one is missing."""
    axes: dict[str, list[Any]] = {"order": [16, 8, 4, 2, 1], "precision": ["float32", "int8"], "calibrate": ["spectrum"]}
    wanted = [(order, precision) for precision in axes["precision"] for order in axes["order"]]
    found = {
        (cell["options"].get("order"), _precision(cell)): cell
        for cell in sweep["cells"]
        if cell["model"] == "keywords" and cell["status"] == "done" and cell["options"].get("calibrate") == "spectrum"
    }
    if not set(wanted) <= set(found):
        return None
    kept = {name: value for name, value in sweep.items() if name not in ("chosen", "cells", "axes", "sources")}
    return {**kept, "sources": ["models/keywords"], "axes": axes, "cells": [found[one] for one in wanted]}


def _precision(cell: Cell) -> str:
    return str(cell["options"].get("precision", "float32"))


def _figures(cell: Cell | None) -> tuple[str, str]:
    return ("", "") if cell is None else (f"{cell['figures']['artifact']:.4f}", f"{cell['figures']['bytes'] / 1e3:.0f}")


def _row(parts: Iterable[str]) -> str:
    return f"| {' | '.join(parts)} |"


def stored() -> dict[str, Any]:
    """Return the committed sweep."""
    found: dict[str, Any] = json.loads(FIGURES.read_text(encoding="utf-8"))
    return found
