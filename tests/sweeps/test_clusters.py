"""A real Dask cluster of worker processes on loopback: everything once, also where a worker is killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from ssm2edge.sweeps.dispatching import Dispatcher
from ssm2edge.sweeps.engines import Slots
from tests.sweeps import stub_cells
from tests.sweeps.stub_cells import cells

pytestmark = pytest.mark.slow
distributed = pytest.importorskip("distributed")


@pytest.fixture
def cluster() -> Iterator[Any]:
    with distributed.LocalCluster(n_workers=4, threads_per_worker=1, host="127.0.0.1", dashboard_address=None) as made:
        yield made


def test_a_killed_worker_loses_nothing_and_nothing_is_there_twice(tmp_path: Path, cluster: Any) -> None:
    killed: list[int] = []

    def kill() -> None:
        file, limit = tmp_path / "runs", time.monotonic() + 60
        while time.monotonic() < limit:
            begun = file.read_text().splitlines() if file.exists() else []
            if len(begun) >= 7:
                killed.append(int(begun[-1].split()[1]))
                os.kill(killed[0], signal.SIGKILL)
                return
            time.sleep(0.02)

    killer = Thread(target=kill)
    killer.start()
    records = list(Dispatcher(Slots(4, 1), "dask", cluster.scheduler_address, work=stub_cells.lasting).run(cells(tmp_path, 24)))
    killer.join()
    assert killed
    assert Counter(record.name for record in records) == {f"cell-{seed}": 1 for seed in range(24)}
    assert {record.status for record in records} == {"done"}
    assert all(cell.finished() == record for record in records for cell in cells(tmp_path, 24) if cell.name == record.name)
    counts = Counter(stub_cells.runs(tmp_path))
    # The one that ran when its worker was killed ran again; no other did.
    assert sum(counts.values()) == 25
    assert max(counts.values()) == 2
    processes = {line.split()[1] for line in (tmp_path / "runs").read_text().splitlines()}
    assert len(processes) >= 4


def test_a_cell_that_kills_every_worker_fails_alone(tmp_path: Path, cluster: Any) -> None:
    records = list(Dispatcher(Slots(4, 1), "dask", cluster.scheduler_address, work=stub_cells.deadly).run(cells(tmp_path, 8)))
    failed = [record for record in records if record.status == "failed"]
    assert [record.name for record in failed] == ["cell-2"]
    assert "worker processes ended" in str(failed[0].error)
    assert len(records) == 8


def test_failures_come_back_from_a_cluster_of_its_own(tmp_path: Path) -> None:
    records = list(Dispatcher(Slots(2, 1), "dask", work=stub_cells.failing).run(cells(tmp_path, 5)))
    assert sorted(record.name for record in records if record.status == "failed") == ["cell-1", "cell-3"]
    assert len(records) == 5


def test_a_scheduler_may_come_back(tmp_path: Path) -> None:
    """Its workers end with it, and others come with the new one."""
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str) -> None:
        command = [sys.executable, "-m", *arguments, "--no-dashboard"]
        started.append(subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL))

    def start_all() -> None:
        start("distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port))
        for _ in range(2):
            start("distributed.cli.dask_worker", address, "--nthreads", "1", "--death-timeout", "60")

    def replace() -> None:
        file, limit = tmp_path / "runs", time.monotonic() + 120
        while time.monotonic() < limit and (not file.exists() or len(file.read_text().splitlines()) < 5):
            time.sleep(0.05)
        started[0].kill()
        started[0].wait()
        start_all()

    start_all()
    chaos = Thread(target=replace)
    chaos.start()
    try:
        records = list(Dispatcher(Slots(2, 1), "dask", address, work=stub_cells.lasting).run(cells(tmp_path, 16)))
    finally:
        chaos.join()
        for process in started:
            process.kill()
            process.wait()
    assert len(started) == 6
    assert Counter(record.name for record in records) == {f"cell-{seed}": 1 for seed in range(16)}
    assert {record.status for record in records} == {"done"}
    # Only what ran when its workers ended ran again.
    assert len(stub_cells.runs(tmp_path)) <= 16 + 2


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
