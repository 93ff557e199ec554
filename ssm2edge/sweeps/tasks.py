"""Number of cells that a task has: one, unless they end at once, as those of a stub do or those that fail."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from ssm2edge.artifact.sweep import CellRecord
from ssm2edge.sweeps.cells import Cell
from ssm2edge.sweeps.running import AT_LEAST


class Tasks:
    """Divides cells among tasks.

    To hand a task to a worker takes about a millisecond, which counts beside cells of a few.  A task is filled by the duration of
    the cells that ended last; a worker that finds them longer gives back what it has not begun, so that no process waits for
    cells that stand behind another's.

    Parameters
    ----------
    cells
        To run.
    open_tasks
        Tasks that are open at once: towards the end, what is left is shared out among them.
    """

    def __init__(self, cells: Sequence[Cell], open_tasks: int) -> None:
        self._cells, self._open, self._size = deque(cells), max(1, open_tasks), 1

    def next(self) -> tuple[Cell, ...]:
        """Return the cells of the next task; none at the end."""
        share = -(-len(self._cells) // self._open)
        return tuple(self._cells.popleft() for _ in range(min(self._size, share)))

    def ended(self, records: Sequence[CellRecord], left: Sequence[Cell]) -> None:
        """Note the records of a task, and the cells that it gives back."""
        self._cells.extendleft(reversed(left))
        seconds = [record.seconds for record in records]
        known = [spent for spent in seconds if spent is not None]
        # Of cells whose duration nobody knows none is taken for short.
        self._size = max(1, int(AT_LEAST * len(known) / max(sum(known), 1e-4))) if known and len(known) == len(seconds) else 1
