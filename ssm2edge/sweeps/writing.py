"""The files of a sweep: JSON, CSV and the page."""

from __future__ import annotations

import csv
import dataclasses
import io
from pathlib import Path

from ssm2edge.artifact.sweep import SWEEP_NAME, CellFigures, CellRecord, SweepRecord, publish_text, write_record
from ssm2edge.report.sweep import render_sweep

TABLE_NAME = "sweep.csv"
PAGE_NAME = "sweep.html"


def write_sweep(out: Path, record: SweepRecord) -> SweepRecord:
    """Write ``sweep.json``, ``sweep.csv`` and ``sweep.html``, each of them whole.

    Raises
    ------
    ArtifactError
        If one cannot be written.
    """
    write_record(out / SWEEP_NAME, record)
    publish_text(out / TABLE_NAME, table(record))
    publish_text(out / PAGE_NAME, render_sweep(record))
    return record


def table(record: SweepRecord) -> str:
    """Return the cells as CSV: a column for each option that any of them has, and for each figure."""
    options = list(dict.fromkeys(name for cell in record.cells for name in cell.options))
    figures = [entry.name for entry in dataclasses.fields(CellFigures)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["name", "model", *options, "status", "error", "seconds", "peak_bytes", *figures, "directory"])
    for cell in record.cells:
        writer.writerow(_row(cell, options, figures))
    return text.getvalue()


def _row(cell: CellRecord, options: list[str], figures: list[str]) -> list[object]:
    chosen = ["" if (value := cell.options.get(name)) is None else value for name in options]
    measured = ["" if cell.figures is None or (value := getattr(cell.figures, name)) is None else value for name in figures]
    about = ["" if value is None else value for value in (cell.status, cell.error, cell.seconds, cell.peak_bytes)]
    return [cell.name, cell.model, *chosen, *about, *measured, cell.directory]
