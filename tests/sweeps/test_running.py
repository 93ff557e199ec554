"""Running cells: each once, failures among them, workers that die, sweeps that go on, threads that are shared out."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from joblib import parallel_config, register_parallel_backend
from joblib._parallel_backends import SequentialBackend

from ssm2edge.artifact import open_manifest
from ssm2edge.artifact.sweep import CellRecord, read_cell
from ssm2edge.firmware.ram import STACK
from ssm2edge.sweeps.cells import Cell
from ssm2edge.sweeps.dispatching import Dispatcher
from ssm2edge.sweeps.engines import Slots
from ssm2edge.sweeps.figures import figures_of
from ssm2edge.sweeps.memory import as_many_as_fit, peak_memory, start_peak
from ssm2edge.sweeps.running import Work, mark_of, run_cells
from ssm2edge.sweeps.tasks import Tasks
from tests.model_directories import Built
from tests.sweeps import stub_cells
from tests.sweeps.stub_cells import cells

ONE = Slots(1, 1)


def ended(out: Path, count: int, work: Work, slots: Slots = ONE, memory: int | None = None) -> dict[str, CellRecord]:
    engine = "here" if slots is ONE else "processes"
    records = list(Dispatcher(slots, engine, memory=memory, work=work).run(cells(out, count)))
    assert len({record.name for record in records}) == len(records)
    return {record.name: record for record in records}


def run_one(cell: Cell, sweep: str, elsewhere: bool = False) -> CellRecord:
    (record,), left = run_cells((cell,), 1, sweep, stub_cells.quick, elsewhere)
    assert not left
    return record


def test_a_cell_that_fails_is_recorded_and_the_rest_goes_on(tmp_path: Path) -> None:
    found = ended(tmp_path, 5, stub_cells.failing)
    assert [found[f"cell-{seed}"].status for seed in range(5)] == ["done", "failed", "done", "failed", "done"]
    assert found["cell-1"].error == "The seed is 1; give another one with --seed 2."
    assert found["cell-3"].error == "ZeroDivisionError: an accident"
    assert all(record.figures is not None for record in found.values() if record.status == "done")
    for cell in cells(tmp_path, 5):
        assert read_cell(cell.record_file) == found[cell.name]


def test_a_second_sweep_repeats_what_failed_and_nothing_else(tmp_path: Path) -> None:
    ended(tmp_path, 5, stub_cells.failing)
    ended(tmp_path, 6, stub_cells.failing)
    assert Counter(stub_cells.runs(tmp_path)) == {f"cell-{seed}": 2 if seed in (1, 3) else 1 for seed in range(6)}


def test_an_artifact_without_a_whole_record_is_built_no_second_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a kill between the two."""
    (cell,) = cells(tmp_path, 1)
    run_one(cell, "first")
    cell.record_file.write_text(cell.record_file.read_text()[:-20])
    assert cell.finished() is None
    monkeypatch.setattr("ssm2edge.sweeps.running.open_manifest", lambda path: None)
    monkeypatch.setattr("ssm2edge.sweeps.running.figures_of", lambda directory, manifest: stub_cells.FIGURES)
    assert run_one(cell, "second").status == "done"
    assert stub_cells.runs(tmp_path) == ["cell-0"]


def test_a_record_of_other_content_does_not_count(tmp_path: Path) -> None:
    (cell,) = cells(tmp_path, 1)
    run_one(cell, "first")
    assert cell.finished() is not None
    value = json.loads(cell.record_file.read_text())
    cell.record_file.write_text(json.dumps(value | {"key": "f" * 64}))
    assert cell.finished() is None


def test_a_worker_without_the_files_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    """As on another machine that shares neither the directory nor the model."""
    (cell,) = cells(tmp_path / "sweep", 1)
    elsewhere = run_one(cell, "mark", elsewhere=True)
    assert elsewhere.status == "failed"
    assert f"does not see {tmp_path / 'sweep'} as this machine does: nothing is sent to workers" in str(elsewhere.error)
    assert not list(tmp_path.iterdir())
    cell.out.mkdir()
    mark_of(cell.out, "mark").touch()
    for more in ({"source": str(tmp_path / "model")}, {"arguments": {"weights": tmp_path / "weights.safetensors"}}):
        lacking = run_one(dataclasses.replace(cell, **more), "mark", elsewhere=True)
        assert re.search(r"does not see \S+/(model|weights\.safetensors) as", str(lacking.error))
    assert run_one(cell, "mark", elsewhere=True).status == "done"


def test_an_engine_that_answers_at_the_end_of_a_call_gets_as_many_cells_as_run_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Ray's."""

    class Unstreamed(SequentialBackend):
        supports_return_generator = False

    @contextlib.contextmanager
    def unstreamed(slots: Slots, scheduler: str | None) -> Iterator[int]:
        register_parallel_backend("unstreamed", Unstreamed)
        with parallel_config(backend="unstreamed"):
            yield 3

    monkeypatch.setattr("ssm2edge.sweeps.engines.ENGINES", {"unstreamed": unstreamed})
    records = Dispatcher(Slots(3, 1), "unstreamed", work=stub_cells.quick).run(cells(tmp_path, 7))
    assert next(records).name == "cell-0"
    assert len(stub_cells.runs(tmp_path)) == 3
    assert [record.name for record in records] == [f"cell-{seed}" for seed in range(1, 7)]
    assert len(stub_cells.runs(tmp_path)) == 7


def test_as_many_run_as_fit_into_memory() -> None:
    assert as_many_as_fit(8, None, 100) == as_many_as_fit(8, 10, None) == 8
    assert as_many_as_fit(8, 30, 100) == 3
    assert as_many_as_fit(8, 300, 100) == 1
    assert as_many_as_fit(2, 30, 100) == 2


def test_the_peak_of_a_cell_is_its_own() -> None:
    def peak_of(count: int) -> int:
        start_peak()
        held = bytearray(count)
        held[:: 1 << 12] = b"x" * len(held[:: 1 << 12])
        found = peak_memory()
        assert found is not None
        return found

    large, small = peak_of(200 << 20), peak_of(1 << 20)
    assert large - small > 150 << 20


@pytest.mark.slow
def test_a_worker_that_dies_takes_only_its_own_cell_with_it(tmp_path: Path) -> None:
    found = ended(tmp_path, 8, stub_cells.deadly, Slots(2, 1))
    assert [name for name, record in found.items() if record.status == "failed"] == ["cell-2"]
    assert "worker processes ended" in str(found["cell-2"].error)
    # What ran beside it when it died ran again; nothing that had ended did.
    counts = Counter(stub_cells.runs(tmp_path))
    assert counts["cell-2"] == 2
    assert max(counts.values()) == 2


@pytest.mark.slow
def test_threads_are_shared_out(tmp_path: Path) -> None:
    ended(tmp_path, 3, stub_cells.threaded, Slots(2, 3))
    assert {file.read_text() for file in tmp_path.glob("threads-*")} == {"3 3"}


@pytest.mark.slow
def test_fewer_run_at_once_where_memory_is_short(tmp_path: Path) -> None:
    """Two processes of Python with torch do not fit into 300 MB: after the first cells one runs at a time."""
    found = ended(tmp_path, 8, stub_cells.lasting, Slots(2, 1), memory=300 << 20)
    assert {record.status for record in found.values()} == {"done"}
    spans = [tuple(map(float, line.split())) for line in (tmp_path / "spans").read_text().splitlines()]
    assert len(spans) == 8
    (_, end), (start, _) = sorted(spans)[-2:]
    assert end <= start


def test_a_task_gives_back_what_it_has_not_begun(tmp_path: Path) -> None:
    """A quarter of a second is over in the first cell, which sleeps for half of one."""
    given = cells(tmp_path, 3)
    records, left = run_cells(given, 1, "mark", stub_cells.lasting)
    assert [record.name for record in records] == ["cell-0"]
    assert left == tuple(given[1:])
    assert stub_cells.runs(tmp_path) == ["cell-0"]
    # No file says that a cell still runs.
    assert not list(tmp_path.glob("cells/*/.*"))


def test_short_cells_share_tasks_and_long_ones_have_their_own(tmp_path: Path) -> None:
    given = cells(tmp_path, 100)
    tasks = Tasks(given, 4)
    (first,) = tasks.next()
    tasks.ended([first.record("done", seconds=0.025)], ())
    several = tasks.next()
    assert several == tuple(given[1:11])
    # One of them took long, so that the worker gave the rest back: the next task has one cell, and the order is kept.
    tasks.ended([several[0].record("done", seconds=3.0)], several[1:])
    assert tasks.next() == (given[2],)
    tasks.ended([given[2].record("done", seconds=0.001)], ())
    assert len(tasks.next()) == 25
    rest = []
    while task := tasks.next():
        rest += task
    assert len(rest) == 72


def test_every_cell_runs_once_however_they_are_shared_out(tmp_path: Path) -> None:
    records = ended(tmp_path, 60, stub_cells.failing)
    assert Counter(stub_cells.runs(tmp_path)) == {f"cell-{seed}": 1 for seed in range(60)}
    assert sum(record.status == "failed" for record in records.values()) == 2
    assert not list(tmp_path.glob("cells/*/.*"))


def test_figures_are_those_of_the_artifact(tiny_build: Built) -> None:
    manifest = open_manifest(tiny_build.out / "manifest.json")
    figures = figures_of(tiny_build.out, manifest)
    sizes = {name: (tiny_build.out / f"{name}.onnx").stat().st_size for name in ("offline", "stream")}
    assert (figures.offline_bytes, figures.stream_bytes, figures.bytes) == (*sizes.values(), max(sizes.values()))
    assert manifest.accuracy is not None
    assert figures.loss == pytest.approx(100 * (manifest.accuracy.original - manifest.accuracy.artifact))
    assert figures.samples == 16
    # Two layers of four channels of six states in float32, and the stack that is counted.
    assert figures.ram is not None
    assert figures.ram >= 2 * 4 * 6 * 4 + STACK
