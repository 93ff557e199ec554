"""A directory that several sweeps fill: no finished cell leaves ``sweep.json`` for the request of another."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from ssm2edge.artifact.sweep import CellFigures, ChoiceRecord, read_sweep
from ssm2edge.errors import Error
from ssm2edge.sweeps import request, result
from ssm2edge.sweeps.cells import Cell
from ssm2edge.sweeps.result import Sweep
from tests.model_directories import model_directory
from tests.sweeps import stub_cells


def swept(source: Path, out: Path, work: object = stub_cells.quick, **options: object) -> Sweep:
    return request.run([str(source)], {"out": out, "engine": "here", **options}, lambda state: None, work)  # type: ignore[arg-type]


def orders(out: Path) -> list[object]:
    return [cell.options.get("order") for cell in read_sweep(out).cells]


def test_a_second_sweep_adds_to_the_first_ones_cells(tmp_path: Path) -> None:
    source, out = model_directory(tmp_path / "model"), tmp_path / "sweep"
    first = swept(source, out, orders=[4, 3])
    found = swept(source, out, order=2, horizon="inf")
    assert all(cell in found.cells for cell in first.cells)
    assert found.record == read_sweep(out)
    assert sorted(map(str, orders(out))) == ["2", "3", "4"]
    with (out / "sweep.csv").open() as table:
        assert len(list(csv.DictReader(table))) == 3
    # One that asks for what is there again has it once; infinite horizons are found again, too.
    again = swept(source, out, orders=[3, 4])
    assert sorted(cell.name for cell in again.cells) == sorted(cell.name for cell in found.cells)
    assert len(stub_cells.runs(out)) == 3


def test_a_sweep_of_another_model_leaves_the_first_ones_cells(tmp_path: Path) -> None:
    out, sources = tmp_path / "sweep", [model_directory(tmp_path / name) for name in ("first", "second")]
    for source in sources:
        swept(source, out, order=3)
    record = read_sweep(out)
    assert {cell.model for cell in record.cells} == {"first", "second"}
    assert set(record.sources) == set(map(str, sources))


def test_cells_that_a_sweep_ends_meanwhile_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, out = model_directory(tmp_path / "model"), tmp_path / "sweep"
    write, nested = request.write_sweep, iter([4])

    def meanwhile(*arguments: object) -> object:
        """Let another sweep end whole between what this one has found and what it writes."""
        for order in nested:
            swept(source, out, order=order)
        return write(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(request, "write_sweep", meanwhile)
    swept(source, out, order=3)
    assert orders(out) == [3, 4]


def test_picking_of_an_earlier_result_keeps_what_came_since(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, out = model_directory(tmp_path / "model"), tmp_path / "sweep"
    first = swept(source, out, order=3)
    swept(source, out, order=2)
    choice = ChoiceRecord(first.cells[0].name, {"max_bytes": 2000.0}, 0.95, 1, 50, 50, None, None, None)
    monkeypatch.setattr(result, "pick", lambda *_: choice)
    monkeypatch.setattr(result, "open_directory", lambda _: None)
    first.pick(tmp_path / "chosen", max_bytes=2000)
    assert orders(out) == [2, 3]
    assert read_sweep(out).chosen == choice


def test_what_did_not_end_or_is_gone_or_of_a_changed_model_is_not_kept(tmp_path: Path) -> None:
    source, out = model_directory(tmp_path / "model"), tmp_path / "sweep"

    def failing(cell: Cell, threads: int) -> CellFigures:
        raise Error("It fails.")

    swept(source, out, failing, order=5)
    (gone,) = swept(source, out, order=4).cells
    (out / gone.directory / "manifest.json").unlink()
    assert orders(out) == [4]
    swept(source, out, order=3)
    assert orders(out) == [3]
    (file,) = out.glob(f"{gone.directory}.json")
    assert json.loads(file.read_text())["status"] == "done"
    weights = source / "weights.safetensors"
    weights.write_bytes(weights.read_bytes() + b"\n")
    swept(source, out, order=2)
    assert orders(out) == [2]
