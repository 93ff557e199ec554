"""A sweep from its request to its files."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ssm2edge.artifact.sweep import CellRecord, SweepRecord
from ssm2edge.cache.versions import versions
from ssm2edge.errors import UserError
from ssm2edge.options import bytes_of
from ssm2edge.sweeps.cells import Cell, Cells
from ssm2edge.sweeps.dispatching import Dispatcher
from ssm2edge.sweeps.earlier import Earlier
from ssm2edge.sweeps.engines import slots_of
from ssm2edge.sweeps.grid import Axes, combinations, grids_of, joined
from ssm2edge.sweeps.plan import GRIDS, SECTIONS
from ssm2edge.sweeps.progress import Counting, State
from ssm2edge.sweeps.result import Sweep
from ssm2edge.sweeps.running import Work, build_cell
from ssm2edge.sweeps.searching import rounds
from ssm2edge.sweeps.writing import write_sweep

FRESH = 20.0
"""Seconds after which the files of a sweep that runs are written again."""


def run(sources: Sequence[str], asked: Mapping[str, Any], progress: Callable[[State], None], work: Work = build_cell) -> Sweep:
    """Build what is missing of a sweep, and write its files.

    Parameters
    ----------
    sources
        Models as the user gave them.
    asked
        Values by the names that `ssm2edge.sweep` has for its arguments; those that are missing have their defaults.
    progress
        Called at the start and whenever a cell ends.
    work
        Builds an artifact.

    Raises
    ------
    UserError
        If a source or an option cannot be used, or the directory cannot be written.
    """
    if not sources:
        raise UserError("A sweep needs a model; give a model directory or file.py:function.")
    if asked.get("out") is None:
        raise UserError("A sweep needs a directory to fill; name it with --out.")
    out = Path(asked["out"]).absolute()
    scheduler = asked.get("scheduler")
    arguments = {name: _elsewhere(name, asked[name], scheduler) for name in SECTIONS["model"] if asked.get(name) is not None}
    options = {name: value for name, value in asked.items() if name not in SECTIONS["model"] | SECTIONS["sweep"] | {GRIDS}}
    grids = grids_of(options, asked.get("seeds"), asked.get(GRIDS, ()), sources)
    if scheduler is not None:
        grids = [replace(grid, axes=_named_everywhere(grid.axes)) for grid in grids]
    places = [source if scheduler is None else absolute(source) for source in sources]
    makes = Cells(places, arguments, out)
    slots = slots_of(asked.get("jobs"))
    count, known = asked.get("search"), dict[str, CellRecord]()
    if count is not None and len(grids) > 1:
        raise UserError(f"A search chooses from one grid, not {len(grids)}; give a single [grid], or leave the search out.")
    asked_for = [cell for grid in grids for cell in makes.all(combinations(grid.axes), grid.places)] if count is None else []
    cells = list({cell.key: cell for cell in asked_for}.values())
    _prepare(out)
    batches = [cells] if count is None else rounds(makes, grids[0].axes, count, slots.jobs, out, known)
    counting = Counting(len(cells) if count is None else count * len(sources), slots.jobs)
    dispatcher = Dispatcher(slots, asked.get("engine", "processes"), scheduler, bytes_of(asked.get("memory")), work)
    wanted: dict[str, Cell] = {}
    earlier = Earlier(out, makes)

    def written() -> SweepRecord:
        own = tuple(known.get(cell.key) or cell.record("open") for cell in wanted.values())
        files = {cell.record_file for cell in wanted.values()}
        others = earlier.found(files)
        while True:
            named = tuple(dict.fromkeys((*sources, *(record.source for record in others))))
            record = SweepRecord(versions(), named, joined(grids), (*own, *others))
            write_sweep(out, record)
            # Another sweep may have ended a cell and written meanwhile: whoever writes last has all.
            before, others = others, earlier.found(files)
            if others == before:
                return record

    last = time.monotonic()
    try:
        for batch in batches:
            wanted |= {cell.key: cell for cell in batch}
            there = {cell.key: found for cell in batch if cell.key not in known and (found := cell.finished()) is not None}
            known |= there
            progress(counting.found(len(there)))
            # Whatever ends a sweep ends its workers before they are cleaned up after.
            with contextlib.closing(
                dispatcher.run([cell for cell in batch if cell.key not in known], counting.started)
            ) as records:
                for ended in records:
                    known[ended.key] = ended
                    progress(counting.ended(ended))
                    if time.monotonic() - last > FRESH:
                        written()
                        last = time.monotonic()
    except BaseException as end:
        # What has been found is worth a look, whatever ends a sweep.
        dispatcher.clean(wanted.values())
        record = written()
        if isinstance(end, KeyboardInterrupt):
            done = f"{sum(cell.status == 'done' for cell in record.cells)} of {len(record.cells)} cells in {out}"
            raise KeyboardInterrupt(f"The sweep was interrupted with {done}; the same call goes on from them.") from None
        raise
    return Sweep(out, written())


def absolute(source: str) -> str:
    """Return a source as another machine with the same files finds it."""
    file, colon, function = source.rpartition(":")
    if not colon:
        return os.path.abspath(source)
    return f"{os.path.abspath(file)}:{function}" if file.endswith(".py") else source


def _named_everywhere(axes: Axes) -> Axes:
    """Return axes whose functions another machine with the same files finds."""
    return {name: tuple(map(absolute, values)) if name == "retrain" else values for name, values in axes.items()}


def _elsewhere(name: str, value: Any, scheduler: str | None) -> Any:
    return os.path.abspath(value) if name in ("weights", "samples") and scheduler is not None else value


def _prepare(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise UserError(f"{out} cannot be made ({fault.strerror}): choose another place.") from fault
