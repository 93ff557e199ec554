"""Cells through one call of joblib, and again where workers died or memory ran short: what is recorded is never run twice."""

from __future__ import annotations

import contextlib
import itertools
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from pathlib import Path

from ssm2edge.artifact.staging import remove_leftovers
from ssm2edge.artifact.sweep import CellRecord
from ssm2edge.errors import Error, UserError
from ssm2edge.sweeps.cells import Cell
from ssm2edge.sweeps.engines import Slots, engine_of
from ssm2edge.sweeps.memory import SHARE, as_many_as_fit, free_memory
from ssm2edge.sweeps.running import Result, Work, build_cell, deaths, mark_of, run_cells
from ssm2edge.sweeps.tasks import Tasks

RESTARTS = 5
"""Failures of an engine in a row, none of which let a cell end, after which a sweep gives up."""
PAUSE = 2.0
"""Seconds before an engine that failed is opened again: a scheduler may come back."""


class Dispatcher:
    """Runs cells, as many at once as there are slots and as fit into memory.

    Parameters
    ----------
    slots
        Processes and their threads.
    engine
        Name of the engine.
    scheduler
        Its address; None for this machine.
    memory
        Bytes that all processes may take together; None for most of what is free.
    work
        Builds an artifact.
    """

    def __init__(
        self,
        slots: Slots,
        engine: str = "processes",
        scheduler: str | None = None,
        memory: int | None = None,
        work: Work = build_cell,
    ) -> None:
        self._slots, self._name, self._scheduler, self._work = slots, engine, scheduler, work
        self._engine = engine_of(engine)
        self._sweep = uuid.uuid4().hex
        self._peak: int | None = None
        free = free_memory()
        # Memory elsewhere is the cluster's to keep.
        here = memory if memory is not None else None if free is None else int(SHARE * free)
        self._allowed = here if scheduler is None else None
        self.running = 0

    def run(
        self, cells: Sequence[Cell], started: Callable[[Cell], None] = lambda cell: None
    ) -> Generator[CellRecord, None, None]:
        """Yield the record of every cell as it ends.

        Parameters
        ----------
        cells
            Each once.
        started
            Called with each cell that is handed to the engine.

        Raises
        ------
        UserError
            If the engine cannot be had, or fails again and again.
        """
        with self._marked({cell.out for cell in cells}):
            yield from self._all(cells, started)

    def _all(self, cells: Sequence[Cell], started: Callable[[Cell], None]) -> Generator[CellRecord, None, None]:
        left = {cell.key: cell for cell in cells}
        failures = 0
        while left:
            suspects = [cell for cell in left.values() if deaths(cell, self._sweep)]
            before = len(left)
            try:
                for record in self._once(suspects or list(left.values()), bool(suspects), started):
                    left.pop(record.key, None)
                    yield record
            except Error:
                raise
            except BrokenExecutor:
                pass  # A worker died: the cells that ran are tried one at a time, so that the others are not blamed.
            except Exception as fault:
                failures = failures + 1 if len(left) == before else 1
                if failures >= RESTARTS:
                    raise UserError(
                        f"The engine {self._name} failed {failures} times in a row ({type(fault).__name__}: {fault}); mend it "
                        "and start the sweep again: it goes on from the finished cells."
                    ) from fault
                time.sleep(PAUSE)

    def clean(self, cells: Iterable[Cell]) -> None:
        """Remove what workers of this sweep left of cells when they were ended with it; workers elsewhere clean up themselves."""
        for cell in cells if self._scheduler is None else ():
            if deaths(cell, self._sweep):
                cell.running_file.unlink(missing_ok=True)
                remove_leftovers(cell.place)

    @contextlib.contextmanager
    def _marked(self, places: Iterable[Path]) -> Iterator[None]:
        """Leave a mark in the sweep's directory by which workers elsewhere know that they see the same one."""
        marks = [] if self._scheduler is None else [mark_of(place, self._sweep) for place in places]
        for mark in marks:
            mark.touch()
        try:
            yield
        finally:
            for mark in marks:
                mark.unlink(missing_ok=True)

    def _once(self, cells: Sequence[Cell], alone: bool, started: Callable[[Cell], None]) -> Generator[CellRecord, None, None]:
        jobs = 1 if alone else as_many_as_fit(self._slots.jobs, self._peak, self._allowed)
        # A cell that runs alone has a process of its own, too, which joblib gives it only beside a second one: it may die.
        with self._engine(Slots(max(2, jobs), self._slots.threads), self._scheduler) as count:
            from joblib import Parallel, delayed
            from joblib.parallel import get_active_backend

            tasks = Tasks(cells, 2 * count)

            def feed() -> Iterator[object]:
                while (task := tasks.next()) and as_many_as_fit(jobs, self._peak, self._allowed) >= jobs:
                    for cell in task:
                        started(cell)
                    yield delayed(run_cells)(task, self._slots.threads, self._sweep, self._work, self._scheduler is not None)

            # Tasks have the cells that they should: joblib gathers no more, for one that is lost with its worker runs again.
            if get_active_backend()[0].supports_return_generator:
                parallel = Parallel(return_as="generator_unordered", batch_size=1, pre_dispatch=1 if jobs == 1 else 2 * count)
                results = parallel(feed())
            else:
                results = in_waves(feed(), 1 if jobs == 1 else count)
            with contextlib.closing(results):
                for records, left in results:
                    tasks.ended(records, left)
                    for record in records:
                        if record.peak_bytes is not None:
                            self._peak = max(self._peak or 0, record.peak_bytes)
                        yield record


def in_waves(tasks: Iterator[object], size: int) -> Generator[Result, None, None]:
    """Yield the results of tasks from calls of so many: Ray's backend hands results out at the end of a call alone."""
    from joblib import Parallel

    with Parallel(batch_size=1) as parallel:
        while wave := list(itertools.islice(tasks, size)):
            yield from parallel(wave)
