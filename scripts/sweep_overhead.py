"""Cost of a cell beside its work: many cells that only sleep, on processes of this machine or a Dask cluster.

    python scripts/sweep_overhead.py [--cells 1000] [--milliseconds 10] [--jobs 2] [--engine processes]

It prints the time of all cells, the part of it in which the workers slept, as their records say (a busy machine wakes them late),
and the rest per cell: handing it out, its record on disk, and its answer.  A first round of a few cells, in which the workers
start and import, is not counted.
"""

from __future__ import annotations

import importlib
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import click

from ssm2edge.artifact.sweep import CellFigures
from ssm2edge.sweeps.cells import Cell
from ssm2edge.sweeps.dispatching import Dispatcher
from ssm2edge.sweeps.engines import Slots

FIGURES = CellFigures(
    metric=None,
    original=None,
    artifact=None,
    loss=None,
    samples=None,
    error=None,
    bytes=1,
    offline_bytes=1,
    stream_bytes=None,
    weight_bytes=None,
    original_bytes=None,
    latency=None,
    latency_ratio=None,
    multiply_adds=None,
    stream_multiply_adds=None,
    parameters=1,
    original_parameters=1,
    states=1,
)


def sleeping(cell: Cell, threads: int) -> CellFigures:
    """Sleep, and leave the least that a build leaves."""
    time.sleep(cell.given["seconds"])
    cell.place.mkdir(parents=True)
    (cell.place / "manifest.json").write_text("{}", encoding="utf-8")
    return FIGURES


def cells(out: Path, count: int, seconds: float, first: int = 0) -> list[Cell]:
    """Return cells of no model."""
    given = {"seconds": seconds}
    return [Cell(f"cell-{n}", f"{n:064x}", "none:make", "none", given, given, {}, out) for n in range(first, first + count)]


@click.command(help=__doc__)
@click.option("--cells", "count", default=1000, show_default=True)
@click.option("--milliseconds", default=10.0, show_default=True)
@click.option("--jobs", default=2, show_default=True)
@click.option("--engine", type=click.Choice(["processes", "dask"]), default="processes", show_default=True)
def main(count: int, milliseconds: float, jobs: int, engine: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        out = Path(place)
        scheduler = None
        if engine == "dask":
            distributed: Any = importlib.import_module("distributed")
            cluster = distributed.LocalCluster(n_workers=jobs, threads_per_worker=1, host="127.0.0.1", dashboard_address=None)
            scheduler = cluster.scheduler_address
        # Of the module, as a build is: what is defined in __main__ is sent with its code for every cell.
        from sweep_overhead import sleeping

        dispatcher = Dispatcher(Slots(jobs, 1), engine, scheduler, work=sleeping)
        warm = list(dispatcher.run(cells(out, 4 * jobs, 0.5)))
        start, busy = time.monotonic(), time.process_time()
        done = list(dispatcher.run(cells(out, count, milliseconds / 1e3, len(warm))))
        seconds, own = time.monotonic() - start, time.process_time() - busy
        assert len({record.name for record in done}) == count
        assert all(record.status == "done" for record in done)
        work = sum(record.seconds or 0.0 for record in done) / jobs
        found = {
            "engine": engine, "jobs": jobs, "cells": count, "milliseconds": milliseconds,
            "seconds": round(seconds, 2), "work": round(work, 2),
            "overhead": round(seconds / work - 1, 3), "milliseconds_a_cell": round(1e3 * (seconds - work) * jobs / count, 3),
            "coordinator_milliseconds_a_cell": round(1e3 * own / count, 3),
        }  # fmt: skip
        click.echo(json.dumps(found, indent=1))
        if engine == "dask":
            cluster.close()


if __name__ == "__main__":
    main()
