"""Cells that take no time: what stands in for a build where the sweep itself is tested."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from ssm2edge.artifact import staging
from ssm2edge.artifact.sweep import CellFigures
from ssm2edge.errors import UserError
from ssm2edge.sweeps.cells import Cell

FIGURES = CellFigures(
    metric="accuracy",
    original=0.9,
    artifact=0.89,
    loss=1.0,
    samples=100,
    error=0.1,
    bytes=1000,
    offline_bytes=1000,
    stream_bytes=800,
    weight_bytes=500,
    original_bytes=4000,
    latency=1e-3,
    latency_ratio=0.1,
    multiply_adds=10,
    stream_multiply_adds=1,
    parameters=10,
    original_parameters=100,
    states=4,
)


def cells(out: Path, count: int, **options: Any) -> list[Cell]:
    """Cells of no model."""
    return [Cell(f"cell-{seed}", f"{seed:064x}", "none:make", "none", {"seed": seed} | options, {"seed": seed}, {}, out)
            for seed in range(count)]  # fmt: skip


def note(cell: Cell) -> None:
    """Note that a cell runs, in a file that any process can add to."""
    with (cell.out / "runs").open("a") as runs:
        runs.write(f"{cell.name} {os.getpid()}\n")


def runs(out: Path) -> list[str]:
    """The cells that ran, each as often as it did."""
    return [line.split()[0] for line in (out / "runs").read_text().splitlines()]


def publish(cell: Cell) -> CellFigures:
    """Leave what a build leaves."""
    cell.place.mkdir(parents=True)
    (cell.place / "manifest.json").write_text("{}")
    return FIGURES


def quick(cell: Cell, threads: int) -> CellFigures:
    """End at once."""
    note(cell)
    return publish(cell)


def brief(cell: Cell, threads: int) -> CellFigures:
    """Take ten milliseconds."""
    time.sleep(0.01)
    return publish(cell)


def lasting(cell: Cell, threads: int) -> CellFigures:
    """Take a while, so that somebody can be killed meanwhile."""
    note(cell)
    start = time.time()
    time.sleep(0.5)
    with (cell.out / "spans").open("a") as spans:
        spans.write(f"{start} {time.time()}\n")
    return publish(cell)


def failing(cell: Cell, threads: int) -> CellFigures:
    """Fail where the seed is odd: of a sentence, and of an accident."""
    note(cell)
    if cell.given["seed"] == 1:
        raise UserError("The seed is 1; give another one with --seed 2.")
    if cell.given["seed"] == 3:
        raise ZeroDivisionError("an accident")
    return publish(cell)


def deadly(cell: Cell, threads: int) -> CellFigures:
    """Kill the worker where the seed is 2."""
    note(cell)
    if cell.given["seed"] == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.05)
    return publish(cell)


def threaded(cell: Cell, threads: int) -> CellFigures:
    """Write the threads that this process may have."""
    (cell.out / f"threads-{cell.name}").write_text(f"{threads} {os.environ.get('OMP_NUM_THREADS')}")
    return publish(cell)


def unfinished(cell: Cell, threads: int) -> CellFigures:
    """Be in the middle of a build until somebody ends it, and clean up slowly."""
    with staging(cell.place) as folder:
        (folder / "offline.onnx").write_bytes(b"half")
        note(cell)
        try:
            time.sleep(60)
        finally:
            time.sleep(1)
    return FIGURES
