"""The state of a sweep while it runs."""

from __future__ import annotations

import time
from dataclasses import dataclass

from ssm2edge.artifact.sweep import CellRecord
from ssm2edge.sweeps.cells import Cell


@dataclass(frozen=True)
class State:
    """The state of a sweep when a cell ended, or at its start.

    Attributes
    ----------
    cell
        The cell that ended; None at the start and when one begins.
    done, failed, running, of
        Numbers of cells; those that were there already are done.
    seconds
        Since the start.
    left
        Seconds until the end, by the pace so far; None before a cell ended.
    """

    cell: CellRecord | None
    done: int
    failed: int
    running: int
    of: int
    seconds: float
    left: float | None


class Counting:
    """Counts the cells of a sweep.

    Parameters
    ----------
    of
        All cells.
    jobs
        Cells that run at once.
    """

    def __init__(self, of: int, jobs: int) -> None:
        self._there, self._of, self._jobs = 0, of, jobs
        self._start = time.monotonic()
        self._done, self._failed = 0, 0
        self._handed: set[str] = set()

    def found(self, count: int) -> State:
        """Note cells that were finished before."""
        self._there += count
        return self.state()

    def started(self, cell: Cell) -> None:
        """Note a cell that is handed to the engine, which keeps some waiting."""
        self._handed.add(cell.key)

    def ended(self, record: CellRecord) -> State:
        """Note a cell that ended."""
        self._handed.discard(record.key)
        self._done += record.status == "done"
        self._failed += record.status == "failed"
        return self.state(record)

    def state(self, record: CellRecord | None = None) -> State:
        """Return the state now."""
        seconds, ended = time.monotonic() - self._start, self._done + self._failed
        open_cells = self._of - self._there - ended
        left = seconds / ended * open_cells if ended else None
        running = min(self._jobs, len(self._handed), open_cells)
        return State(record, self._there + self._done, self._failed, running, self._of, seconds, left)
