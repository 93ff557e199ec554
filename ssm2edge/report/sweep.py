"""The page of a sweep: one file that needs nothing but itself, whose picture and table its script draws from the cells."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files as package_files
from typing import Any

from ssm2edge.artifact.sweep import CellRecord, SweepRecord
from ssm2edge.artifact.typed import plain
from ssm2edge.options import SIZES
from ssm2edge.report.words import count, text

MOST_NAMES = 3
"""Models that the heading names."""


def render_sweep(record: SweepRecord) -> str:
    """Return the page as HTML that loads nothing."""
    models = list(dict.fromkeys(cell.model for cell in record.cells))
    name = text(", ".join(models) if len(models) <= MOST_NAMES else f"{len(models)} models")
    # A script element ends at the first "</", whatever is around it.
    data = json.dumps(_content(record), separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f'<title>{name} · ssm2edge sweep</title><link rel="icon" href="data:,">'
        f"<style>{_asset('style.css')}{_asset('sweep.css')}</style></head>"
        f'<body><header><p class="kicker">ssm2edge sweep</p><h1>{name}</h1><p class="lead">{_lead(record)}</p></header><main>'
        '<div id="controls"></div>'
        '<div class="split"><figure class="wide">'
        '<figcaption><b id="title"></b><span class="legend" id="legend"></span></figcaption>'
        '<div id="plot"></div><p class="note">The line joins the cells that no other cell beats in both. '
        "Click a cell to see its figures.</p></figure>"
        '<aside class="aside" id="cell"></aside></div>'
        '<section id="all"><h2>Cells</h2><div class="scroll"><table><thead></thead><tbody></tbody></table></div></section>'
        f"{_failures(record)}</main>"
        f"<footer>Made by ssm2edge {text(record.tool.get('ssm2edge', ''))}. This page needs nothing but itself.</footer>"
        '<div id="tip" role="status" hidden></div>'
        f'<script type="application/json" id="data">{data}</script><script>{_asset("sweep.js")}</script></body></html>\n'
    )


def _content(record: SweepRecord) -> Mapping[str, Any]:
    chosen = None if record.chosen is None else plain(record.chosen)
    return {"sizes": SIZES, "cells": [plain(cell) for cell in record.cells if cell.figures is not None], "chosen": chosen}


def _lead(record: SweepRecord) -> str:
    numbers = {status: sum(cell.status == status for cell in record.cells) for status in ("done", "failed", "open")}
    models = f"{len(record.sources)} model{'' if len(record.sources) == 1 else 's'}"
    words = [f"{count(numbers['done'])} artifact{'' if numbers['done'] == 1 else 's'} of {models}"]
    words += [f'<b class="bad">{count(numbers["failed"])} failed</b>'] if numbers["failed"] else []
    words += [f"{count(numbers['open'])} not built yet"] if numbers["open"] else []
    return ", ".join(words) + "."


def _failures(record: SweepRecord) -> str:
    failed = [cell for cell in record.cells if cell.status == "failed"]
    if not failed:
        return ""
    rows = "".join(f"<li><b>{text(_named(cell))}</b>: {text(cell.error)}</li>" for cell in failed)
    return f'<section id="failed"><h2>Failed</h2><ul>{rows}</ul></section>'


def _named(cell: CellRecord) -> str:
    return ", ".join([cell.model, *(f"{name.replace('_', ' ')} {value}" for name, value in cell.options.items())])


def _asset(name: str) -> str:
    return package_files("ssm2edge.report").joinpath(name).read_text(encoding="utf-8")
