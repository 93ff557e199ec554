"""Engines: whatever joblib can run cells on.  A new one is one function and one line in ``ENGINES``."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from ssm2edge.errors import UserError


@dataclass(frozen=True)
class Slots:
    """Places for cells.

    Attributes
    ----------
    jobs
        Cells that run at once.
    threads
        Threads of each.
    """

    jobs: int
    threads: int


Engine = Callable[[Slots, str | None], AbstractContextManager[int]]
"""Opens a backend of joblib for some slots, at a scheduler's address if one is given; yields the cells that run at once."""


def slots_of(jobs: int | None) -> Slots:
    """Return one slot for each core that this process may use, or so many slots that share the cores.

    Raises
    ------
    UserError
        If that is no number of processes.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if jobs is not None and jobs < 1:
        raise UserError(f"{jobs} processes build nothing; give at least 1.")
    count = jobs or cores
    return Slots(count, max(1, cores // count))


def engine_of(name: str) -> Engine:
    """Return an engine.

    Raises
    ------
    UserError
        If there is none of that name.
    """
    if name not in ENGINES:
        raise UserError(f"There is no engine {name!r}; choose one of {', '.join(ENGINES)}.")
    return ENGINES[name]


@contextlib.contextmanager
def here(slots: Slots, scheduler: str | None) -> Iterator[int]:
    """Run cells in this process, one after the other: for whoever looks for a fault in a build."""
    with _imported("joblib", "build").parallel_config(backend="sequential"):
        yield 1


@contextlib.contextmanager
def processes(slots: Slots, scheduler: str | None) -> Iterator[int]:
    """Run cells in processes of this machine."""
    if scheduler is not None:
        raise UserError("Processes of this machine have no scheduler; ask for --engine dask, or leave it out.")
    joblib = _imported("joblib", "build")
    with warnings.catch_warnings():
        # Workers whose memory has grown are replaced between two cells, which is as it should be.
        warnings.filterwarnings("ignore", "A worker stopped", UserWarning)
        # Cells that an interrupt ends are said to be open by the sweep itself.
        warnings.filterwarnings("ignore", r"\d+ tasks ", UserWarning)
        with joblib.parallel_config(backend="loky", n_jobs=slots.jobs, inner_max_num_threads=slots.threads):
            try:
                yield slots.jobs
            except KeyboardInterrupt:
                # A signal may have come to this process alone, and joblib waits for the cells that run.
                _imported("joblib.externals.loky", "build").get_reusable_executor(reuse=True).shutdown(kill_workers=True)
                raise


@contextlib.contextmanager
def dask(slots: Slots, scheduler: str | None) -> Iterator[int]:
    """Run cells on a Dask cluster: at a scheduler's address, or of single-thread worker processes of this machine."""
    joblib, distributed = _imported("joblib", "build"), _imported("distributed", "sweep")
    with contextlib.ExitStack() as stack:
        if scheduler is None:
            # Workers announce nothing outside of this machine.
            cluster = distributed.LocalCluster(
                n_workers=slots.jobs, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None
            )
            client = stack.enter_context(distributed.Client(stack.enter_context(cluster)))
        else:
            try:
                client = stack.enter_context(distributed.Client(scheduler))
            except OSError as fault:
                raise UserError(f"No scheduler answers at {scheduler}; start one with `dask scheduler`.") from fault
        stack.enter_context(joblib.parallel_config(backend="dask", client=client, wait_for_workers_timeout=60))
        yield max(1, sum(client.ncores().values()))


@contextlib.contextmanager
def ray(slots: Slots, scheduler: str | None) -> Iterator[int]:
    """Run cells on a Ray cluster, through the joblib backend that Ray brings."""
    joblib = _imported("joblib", "build")
    cluster, register = _imported("ray", None), _imported("ray.util.joblib", None)
    begun = cluster.is_initialized()
    if not begun:
        own: dict[str, Any] = {"num_cpus": slots.jobs, "include_dashboard": False} if scheduler is None else {}
        cluster.init(address=scheduler, log_to_driver=False, **own)
    register.register_ray()
    count = slots.jobs if scheduler is None else max(1, int(cluster.cluster_resources().get("CPU", 1)))
    try:
        with joblib.parallel_config(backend="ray", n_jobs=count):
            yield count
    finally:
        if not begun:
            cluster.shutdown()


ENGINES: Mapping[str, Engine] = {"processes": processes, "here": here, "dask": dask, "ray": ray}


def _imported(module: str, extra: str | None) -> Any:
    import importlib

    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as missing:
        mend = f"pip install {module.partition('.')[0]}" if extra is None else f"pip install 'ssm2edge[{extra}]'"
        raise UserError(f"This engine needs {missing.name}, which is not installed: {mend}.") from missing
