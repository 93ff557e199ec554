"""A sweep shows a line a cell off a terminal, sentences of failures at its end, and JSON to programs."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import jsonschema
import pytest

from ssm2edge.artifact.schemas import SCHEMAS, schema_of
from ssm2edge.artifact.sweep import read_sweep
from ssm2edge.artifact.typed import plain
from ssm2edge.sweeps import request
from ssm2edge.sweeps.progress import Counting
from ssm2edge.sweeps.writing import write_sweep
from tests.command_line import call
from tests.model_directories import model_directory
from tests.sweeps import stub_cells
from tests.sweeps.sweep_records import many, one


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model whose cells are stubs."""
    monkeypatch.setattr(request.run, "__defaults__", (stub_cells.failing,))
    return model_directory(tmp_path / "model")


def test_every_cell_has_its_line_and_failures_their_sentence(source: Path, tmp_path: Path) -> None:
    arguments = ("sweep", source, "--out", tmp_path, "--seeds", 5, "--engine", "here")
    result = call(*arguments)
    assert result.exit_code == 1
    lines = [line for line in result.stderr.splitlines() if "/5  model" in line]
    assert len(lines) == 5
    assert sum("failed: The seed is 1" in line for line in lines) == 1
    assert "3 done, 2 failed" in result.stdout
    assert "The seed is 1; give another one with --seed 2." in result.stdout
    again = call(*arguments)
    assert "3 of 5 cells are there already." in again.stderr
    assert len([line for line in again.stderr.splitlines() if "/5  model" in line]) == 2


def test_programs_get_json(source: Path, tmp_path: Path) -> None:
    result = call("sweep", source, "--out", tmp_path, "--seeds", 2, "--engine", "here", "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert found["sweep"] == plain(read_sweep(tmp_path))
    assert [cell["status"] for cell in found["sweep"]["cells"]] == ["done", "failed"]


def test_the_files_say_the_same(tmp_path: Path) -> None:
    for number, record in enumerate((many(), many(chosen=False), one())):
        out = tmp_path / str(number)
        out.mkdir()
        write_sweep(out, record)
        assert read_sweep(out) == record
        value = json.loads((out / "sweep.json").read_text())
        jsonschema.Draft202012Validator(schema_of(*SCHEMAS["sweep.schema.json"])).validate(value)
        with (out / "sweep.csv").open(newline="") as table:
            rows = list(csv.DictReader(table))
        assert [row["name"] for row in rows] == [cell.name for cell in record.cells]
        for row, cell in zip(rows, record.cells, strict=True):
            assert row["status"] == cell.status
            assert row["bytes"] == ("" if cell.figures is None else str(cell.figures.bytes))
            assert all(row[name] == str(value) for name, value in cell.options.items())


def test_time_left_follows_the_pace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    now = [0.0]
    monkeypatch.setattr("ssm2edge.sweeps.progress.time.monotonic", lambda: now[0])
    counting, (first, second, *_) = Counting(10, 2), stub_cells.cells(tmp_path, 10)
    assert counting.found(2).left is None
    counting.started(first)
    counting.started(second)
    assert counting.state().running == 2
    now[0] = 8.0
    state = counting.ended(first.record("done"))
    assert (state.done, state.failed, state.running, state.of, state.left) == (3, 0, 1, 10, 8.0 * 7)
    assert counting.ended(second.record("failed")).failed == 1


@pytest.mark.parametrize("content", ["{", "[]", '{"schema": 1}', '{"schema": 0}'])
def test_a_damaged_sweep_is_mended_by_running_it_again(tmp_path: Path, content: str) -> None:
    (tmp_path / "sweep.json").write_text(content)
    result = call("sweep", "pick", tmp_path, "--max-bytes", 1, "--out", tmp_path / "chosen")
    assert result.exit_code == 2
    assert "run the sweep again" in result.stderr
    assert "artifact" not in result.stderr
