"""A search: proposals within the axes, as many trials as asked for, cells found by content, and better ones than at random."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

import ssm2edge
from ssm2edge.artifact.sweep import CellFigures
from ssm2edge.errors import UserError
from ssm2edge.sweeps.cells import Cell
from ssm2edge.sweeps.request import run
from tests.model_directories import model_directory
from tests.sweeps import stub_cells

pytest.importorskip("optuna")
AXES = {"order": [6, 5, 4, 3, 2, 1], "method": ["balanced", "modal", "last"], "calibration_steps": [1, 2, 3, 4]}
HERE = {"engine": "here", "jobs": 1, **AXES}


def judged(cell: Cell, threads: int) -> CellFigures:
    """Lose little where the order is 4 or more, by one method alone; the other option changes nothing."""
    figures = stub_cells.quick(cell, threads)
    order, good = cell.given["order"], cell.given["method"] == "balanced"
    loss = max(0.0, 4.0 - order) + (0.0 if good else 30.0)
    return dataclasses.replace(figures, loss=loss, bytes=1000 * order)


@pytest.fixture
def source(tmp_path: Path) -> str:
    return str(model_directory(tmp_path / "model"))


def test_as_many_trials_as_asked_for_and_no_cell_twice(tmp_path: Path, source: str) -> None:
    asked = {"out": tmp_path, **HERE}
    found = run([source], {**asked, "search": 8}, lambda state: None, judged)
    assert 4 <= len(found.cells) <= 8
    assert {cell.status for cell in found.cells} == {"done"}
    more = run([source], {**asked, "search": 12}, lambda state: None, judged)
    runs = stub_cells.runs(tmp_path)
    assert len(runs) == len(set(runs))
    assert len(runs) <= 12
    assert {cell.name for cell in found.cells} <= {cell.name for cell in more.cells}
    again = run([source], {**asked, "search": 12}, lambda state: None, judged)
    assert {cell.name for cell in again.cells} == {cell.name for cell in more.cells}
    assert stub_cells.runs(tmp_path) == runs


def test_proposals_are_of_the_axes(tmp_path: Path, source: str) -> None:
    found = run(
        [source],
        {"out": tmp_path, "search": 6, "keep": [0.5], **HERE},
        lambda state: None,
        judged_any,
    )
    for cell in found.cells:
        assert ("order" in cell.options) != ("keep" in cell.options)
        assert cell.options.get("order") in (*AXES["order"], None)
        assert cell.options["method"] in AXES["method"]


def judged_any(cell: Cell, threads: int) -> CellFigures:
    return stub_cells.quick(cell, threads)


@pytest.mark.slow
def test_a_search_finds_what_is_good(tmp_path: Path, source: str) -> None:
    axes = {**AXES, "order": [6, 5, 4, 3, 2, 1], "calibration_steps": list(range(1, 60))}
    found = run([source], {"out": tmp_path, "engine": "here", "jobs": 1, "search": 40, **axes}, lambda state: None, judged)
    late = found.cells[-20:]
    # At random a third of the cells are of the good method.
    assert sum(cell.options["method"] == "balanced" for cell in late) >= 11


def test_a_journal_of_other_values_is_refused(tmp_path: Path, source: str) -> None:
    run([source], {"out": tmp_path, "search": 2, **HERE}, lambda state: None, judged)
    with pytest.raises(UserError, match="other values"):
        run(
            [source],
            {"out": tmp_path, "search": 4, **HERE, "method": ["aire", "modal"]},
            lambda state: None,
            judged,
        )


def test_a_search_of_nothing_is_refused(tmp_path: Path, source: str) -> None:
    with pytest.raises(UserError, match="at least 1"):
        ssm2edge.sweep(source, tmp_path / "out", search=0, order=[1, 2])
