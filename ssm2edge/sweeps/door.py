"""``ssm2edge.sweep``: many builds, and a picture to choose from."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssm2edge.api import naming_arguments
from ssm2edge.errors import UserError

if TYPE_CHECKING:
    from ssm2edge.sweeps.progress import State
    from ssm2edge.sweeps.result import Sweep


@naming_arguments
def sweep(
    sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str] | None = None,
    *,
    seeds: int | None = None,
    search: int | None = None,
    engine: str | None = None,
    scheduler: str | None = None,
    jobs: int | None = None,
    memory: int | str | None = None,
    progress: Callable[[State], None] | None = None,
    **options: Any,
) -> Sweep:
    """Build every combination of options of some models, each a whole artifact with its verdict.

    A cell that is there already is not built again, so that a sweep that was interrupted goes on, and one with more values adds
    to what is there.  A cell that fails is recorded with its sentence, and is tried again by the next sweep.

    Parameters
    ----------
    sources
        Model directories or ``file.py:function``; or one TOML file that says all of this.
    out
        Directory of the sweep.
    seeds
        Number of seeds, from 0 on; or give a list as ``seed``.
    search
        Number of cells of each model that Optuna proposes, in place of all combinations: few bytes, little loss.
    engine
        ``processes`` of this machine, ``here`` (in this process, one after the other), ``dask``, or ``ray``.
    scheduler
        Address of a Dask scheduler or a Ray cluster; without one they run on this machine.
    jobs
        Cells at once; they share the cores.
    memory
        Bytes, such as ``8000M``, that all cells at once may take; unless given, most of what is free.
    progress
        Called at the start and whenever a cell ends.
    **options
        Options of `build`, also in the plural: a list has a cell for each of its values.  ``weights``, ``samples`` and the
        others about the source are the same for all cells.

    Returns
    -------
    Sweep
        All cells, with ``sweep.json``, ``sweep.csv`` and ``sweep.html`` on disk.

    Raises
    ------
    UserError
        If a source or an option cannot be used; nothing is built then.
    KeyboardInterrupt
        At the first Ctrl-C, once the workers have ended and the files are written; finished cells stay, and the same call goes on
        from them.

    Examples
    --------
    >>> found = ssm2edge.sweep("models/digits", "sweep", orders=[16, 8, 4, 2])  # doctest: +SKIP
    >>> found.pick("chosen", max_drop=0.5, max_bytes="96k")  # doctest: +SKIP
    """
    given = {
        "out": out,
        "seeds": seeds,
        "search": search,
        "engine": engine,
        "scheduler": scheduler,
        "jobs": jobs,
        "memory": memory,
        **options,
    }
    asked: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    listed = [sources] if isinstance(sources, str | os.PathLike) else list(sources)
    named = [os.fspath(source) for source in listed]
    if any(name.endswith(".toml") for name in named):
        if len(named) > 1:
            raise UserError("A TOML file says all of a sweep; give it alone.")
        from ssm2edge.sweeps.plan import read_plan

        asked = {**read_plan(Path(named[0])), **asked}
        named = asked.pop("sources")
    from ssm2edge.interrupts import interrupted_once
    from ssm2edge.sweeps.request import run

    with interrupted_once(last=False):
        return run(named, asked, progress or (lambda state: None))
