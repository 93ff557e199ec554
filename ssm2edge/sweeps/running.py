"""One cell, in the process of a worker: it is built unless it is there, measured, and recorded."""

from __future__ import annotations

import contextlib
import json
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ssm2edge.artifact import ArtifactError, open_manifest
from ssm2edge.artifact.sweep import CellFigures, CellRecord, write_record
from ssm2edge.errors import Error
from ssm2edge.sweeps.cells import Cell
from ssm2edge.sweeps.figures import figures_of
from ssm2edge.sweeps.memory import peak_memory, start_peak

Work = Callable[[Cell, int], CellFigures]
"""Publishes the artifact of a cell with some threads, and returns its figures."""

NOT_SHARED = (
    "{worker} does not see {path} as this machine does: nothing is sent to workers, so put the models and the sweep's directory "
    "on storage that all of them read and write under the same paths."
)
"""Sentence for a worker without access to the files."""

Result = tuple[tuple[CellRecord, ...], tuple[Cell, ...]]
"""Records of the cells of a task, and those of its cells that were not begun."""

AT_LEAST = 0.25
"""Seconds that a task takes, if it has several cells."""

TRIES = 2
"""Workers that may die while they run a cell: the machine may have had too little memory for it and its neighbours."""


def build_cell(cell: Cell, threads: int) -> CellFigures:
    """Build an artifact as ``ssm2edge.build`` does: it is one call of it.

    Raises
    ------
    Error
        If the source or the options cannot be used, or the artifact fails its checks.
    """
    import torch

    from ssm2edge import api

    torch.set_num_threads(threads)
    built = api.build(cell.source, out=cell.place, **cell.arguments, **cell.given)
    return figures_of(built.directory, built.manifest)


class Running:
    """The file that is there while a cell runs: one for each process, which goes from cell to cell, for new files cost most."""

    def __init__(self, sweep: str) -> None:
        self._sweep, self._tries = sweep, 0
        self._file: Path | None = None

    def begin(self, cell: Cell, tries: int) -> None:
        """Note that a process begins a cell; ``tries`` counts those that did, with this one."""
        cell.place.parent.mkdir(parents=True, exist_ok=True)
        before, self._file = self._file, cell.running_file
        if before is not None and tries == self._tries:
            with contextlib.suppress(OSError):
                before.replace(cell.running_file)
                return
        self._tries = tries
        cell.running_file.write_text(json.dumps({"sweep": self._sweep, "tries": tries}), encoding="utf-8")
        if before is not None:
            _remove(before)

    def end(self) -> None:
        """Remove the file: its cell has ended."""
        if self._file is not None:
            _remove(self._file)
            self._file = None


def run_cells(cells: Sequence[Cell], threads: int, sweep: str, work: Work = build_cell, elsewhere: bool = False) -> Result:
    """Run the cells of a task one after the other, until a moment is over: those that are left come back.

    Parameters
    ----------
    cells
        To build; the first one is.
    threads
        Threads of this process.
    sweep
        Mark of the sweep that runs: deaths of workers count within one sweep.
    work
        Builds an artifact.
    elsewhere
        The worker may be on another machine: it is asked first whether it has the same files.
    """
    end, records, running = time.monotonic() + AT_LEAST, list[CellRecord](), Running(sweep)
    for cell in cells:
        if records and time.monotonic() > end:
            break
        unseen = unseen_path(cell, sweep) if elsewhere else None
        if unseen is not None:
            records.append(cell.record("failed", error=NOT_SHARED.format(worker=platform.node() or "A worker", path=unseen)))
        else:
            records.append(run_cell(cell, threads, sweep, work, running))
    running.end()
    return tuple(records), tuple(cells[len(records) :])


def run_cell(cell: Cell, threads: int, sweep: str, work: Work, running: Running) -> CellRecord:
    """Return the record of a cell, whatever becomes of it; what is finished is not built again."""
    found = cell.finished()
    if found is not None:
        return found
    tries = deaths(cell, sweep)
    if tries >= TRIES:
        _remove(cell.running_file)
        return _kept(cell, lost(cell))
    running.begin(cell, tries + 1)
    start_peak()
    start = time.monotonic()
    try:
        # A worker may have died between the artifact and its record.
        record = built_already(cell) or cell.record("done", figures=work(cell, threads))
    except Error as failure:
        # A worker of a sweep that was killed may have ended the cell meanwhile.
        record = built_already(cell) or cell.record("failed", error=failure.commanded)
    except Exception as fault:  # whatever a cell ends with, the others go on
        record = cell.record("failed", error=f"{type(fault).__name__}: {' '.join(str(fault).split())[:500]}")
    return _kept(cell, replace(record, seconds=time.monotonic() - start, peak_bytes=peak_memory()))


def mark_of(out: Path, sweep: str) -> Path:
    """Return the file by which workers elsewhere know the directory of a sweep."""
    return out / f".{sweep}.sweep"


def unseen_path(cell: Cell, sweep: str) -> str | None:
    """Return the first path that this machine does not have: the directory of the sweep, or a file of the model."""
    if not mark_of(cell.out, sweep).is_file():
        return str(cell.out)
    code = (_file_of(named) for named in (cell.source, cell.options.get("retrain")) if named is not None)
    paths = (*code, cell.arguments.get("weights"), cell.arguments.get("samples"))
    return next((str(path) for path in paths if path is not None and not Path(path).exists()), None)


def _file_of(named: str) -> str | None:
    """Return the path in the name of a model or a function; None for those of an installed package."""
    file, colon, _ = named.rpartition(":")
    return None if colon and not file.endswith(".py") else file or named


def built_already(cell: Cell) -> CellRecord | None:
    """Return the record of a cell whose artifact is there, of which only the duration is not known; None without one."""
    manifest = cell.place / "manifest.json"
    try:
        return cell.record("done", figures=figures_of(cell.place, open_manifest(manifest))) if manifest.is_file() else None
    except ArtifactError:
        return None


def deaths(cell: Cell, sweep: str) -> int:
    """Return how many workers of a sweep began a cell and did not end it."""
    try:
        noted = json.loads(cell.running_file.read_text(encoding="utf-8"))
        return int(noted["tries"]) if noted["sweep"] == sweep else 0
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def lost(cell: Cell) -> CellRecord:
    """Return the record of a cell whose workers died."""
    sentence = f"{TRIES} worker processes ended while they built it, often for want of memory: run fewer at once with --jobs."
    return cell.record("failed", error=sentence)


def _kept(cell: Cell, record: CellRecord) -> CellRecord:
    write_record(cell.record_file, record)
    return record


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
