"""The grid of a sweep: every combination once, sizes that exclude each other, names in the plural, a file that says the same."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import ssm2edge
from ssm2edge.cli.sweep import values_of
from ssm2edge.errors import UserError
from ssm2edge.options import TABLE, Options, check_options
from ssm2edge.sweeps.cells import Cell, Cells
from ssm2edge.sweeps.grid import axes_of, combinations
from ssm2edge.sweeps.plan import read_plan
from ssm2edge.sweeps.request import run
from tests.command_line import call
from tests.model_directories import model_directory


def test_every_combination_is_there_once() -> None:
    axes = axes_of({"orders": [8, 4, 8], "methods": ["balanced", "last"]}, seeds=3)
    found = combinations(axes)
    wanted = {(order, method, seed) for order in (8, 4) for method in ("balanced", "last") for seed in (0, 1, 2)}
    assert len(found) == len(wanted) == 12
    assert {(one["order"], one["method"], one["seed"]) for one in found} == wanted


def test_sizes_exclude_each_other() -> None:
    found = combinations(axes_of({"order": [8, 4], "keep": 0.5, "max_bytes": "40k"}))
    assert found == [{"order": 8}, {"order": 4}, {"keep": 0.5}, {"max_bytes": "40k"}]


def test_sizes_vary_fastest_and_seeds_slowest() -> None:
    found = combinations(axes_of({"method": ["balanced", "last"], "order": [8, 4], "seeds": 2}))
    assert [one["seed"] for one in found] == [0] * 4 + [1] * 4
    assert [one["order"] for one in found] == [8, 4] * 4


@pytest.mark.parametrize("name", sorted(TABLE))
def test_any_option_is_an_axis(name: str) -> None:
    assert len(combinations(axes_of({name: ["one", "two"]}))) == 2


@pytest.mark.parametrize(
    ("given", "word"),
    [({"widths": 3}, "widths"), ({"order": [1], "orders": [2]}, "twice"), ({"order": []}, "no value"), ({"seeds": 0}, "seeds"),
     ({"order": list(range(400)), "seeds": 400}, "cells")],
)  # fmt: skip
def test_a_grid_that_means_nothing_is_refused(given: dict[str, Any], word: str) -> None:
    with pytest.raises(UserError, match=word):
        combinations(axes_of(given))


def test_cells_follow_from_content_alone(tmp_path: Path) -> None:
    source = str(model_directory(tmp_path / "model"))
    combined = combinations(axes_of({"order": [3, 2]}))
    first = [cell.key for cell in Cells([source], {}, tmp_path).all(combined)]
    # What build.toml says already, and another directory of the same content, make the same cells.
    again = str(model_directory(tmp_path / "again"))
    said = Cells([again], {}, tmp_path / "elsewhere").all(combinations(axes_of({"order": [3, 2], "calibrate": "none"})))
    assert [cell.key for cell in said] == first
    assert [cell.key for cell in Cells([source, again], {}, tmp_path).all(combined)] == first
    for file in ("model.py", "samples.npz", "weights.safetensors"):
        content = (tmp_path / "again" / file).read_bytes()
        (tmp_path / "again" / file).write_bytes(content + b"\n")
        changed = [cell.key for cell in Cells([again], {}, tmp_path).all(combined)]
        assert not set(changed) & set(first), file
        (tmp_path / "again" / file).write_bytes(content)


def test_a_file_says_the_same(tmp_path: Path) -> None:
    plan = tmp_path / "sweep.toml"
    plan.write_text('[sweep]\nsources = ["model"]\nout = "made"\nseeds = 2\njobs = 1\n[grid]\norder = [3, 2]\nmethod = "last"\n')
    found = read_plan(plan)
    assert found == {"sources": [str(tmp_path / "model")], "out": str(tmp_path / "made"), "seeds": 2, "jobs": 1, "order": [3, 2],
                     "method": "last"}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[sweep]\nsources = []\n", "sweep.sources"),
        ("[sweep]\nsource = []\n", "sweep.source"),
        ("[made]\n", "made"),
        ("[", "read"),
    ],
)
def test_a_file_that_means_nothing_is_refused(tmp_path: Path, text: str, word: str) -> None:
    plan = tmp_path / "sweep.toml"
    plan.write_text(text)
    with pytest.raises(UserError, match=word):
        ssm2edge.sweep(plan)


def test_several_grids_of_a_file_are_cells_beside_each_other_each_once(tmp_path: Path) -> None:
    first, second = model_directory(tmp_path / "first"), model_directory(tmp_path / "second")
    (second / "own.py").write_text("# Equal content would make equal cells.\n")
    plan = tmp_path / "sweep.toml"
    plan.write_text(
        '[sweep]\nsources = ["first", "second"]\nout = "made"\n'
        '[[grid]]\nsources = ["first"]\norder = [3, 2]\nmethod = "last"\ncalibrate = "none"\n'
        '[[grid]]\norder = 2\nmethod = ["last", "balanced"]\ncalibrate = "none"\n'
    )
    asked = read_plan(plan)
    built: list[tuple[str, Any, Any]] = []

    def work(cell: Cell, threads: int) -> Any:
        built.append((cell.model, cell.options["order"], cell.options["method"]))
        raise UserError("stub")

    sources = asked.pop("sources")
    assert [Path(source) for source in sources] == [first, second]
    found = run(sources, {**asked, "engine": "here"}, lambda state: None, work)
    assert sorted(built) == [
        ("first", 2, "balanced"), ("first", 2, "last"), ("first", 3, "last"), ("second", 2, "balanced"), ("second", 2, "last"),
    ]  # fmt: skip
    assert found.record.axes == {"order": [3, 2], "method": ["last", "balanced"], "calibrate": ["none"]}
    # What is given beside the file takes the place of its values, in every grid.
    built.clear()
    run(sources, {**asked, "engine": "here", "method": "tlh2"}, lambda state: None, work)
    assert sorted(built) == [("first", 2, "tlh2"), ("first", 3, "tlh2"), ("second", 2, "tlh2")]


@pytest.mark.parametrize(
    ("grids", "word"),
    [('[[grid]]\nsources = ["other"]\norder = 2\n', "other"), ('[[grid]]\nsources = "model"\norder = 2\n', "list"),
     ("grid = [1]\n", "table"), ("[[grid]]\norder = 2\nsize = 3\n", "size"),
     ("[[grid]]\norder = 2\n[[grid]]\norder = 3\n", "search")],
)  # fmt: skip
def test_grids_at_fault_are_refused_before_anything_is_built(tmp_path: Path, grids: str, word: str) -> None:
    model_directory(tmp_path / "model")
    plan = tmp_path / "sweep.toml"
    sections = '[sweep]\nsources = ["model"]\nout = "made"\n'
    plan.write_text(grids + sections if grids.startswith("grid") else sections + grids)
    with pytest.raises(UserError, match=word):
        ssm2edge.sweep(plan, search=2 if word == "search" else None)
    assert not list(tmp_path.glob("made/cells/*"))


@pytest.mark.parametrize(
    ("arguments", "word"),
    [(["--order", "x"], "--order"), (["--orders", "4,x"], "such as --orders 8,4"), (["--orders", "4,0"], "order of 0"),
     (["--method", "none"], "none"), (["--seed", "-1"], "seed"), ([], "--out"),
     (["--out", "made", "--engine", "processes", "--scheduler", "here"], "scheduler")],
)  # fmt: skip
def test_nothing_is_built_of_a_request_at_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], word: str
) -> None:
    monkeypatch.chdir(tmp_path)
    model_directory(tmp_path / "model")
    out = [] if word == "--out" or "--out" in arguments else ["--out", "made"]
    result = call("sweep", "model", *out, *arguments)
    assert result.exit_code == 2
    assert word in result.stderr
    assert not list(tmp_path.glob("made/cells/*"))


@pytest.mark.parametrize(
    ("typed", "flag"),
    [("--orders 4,x", "--orders"), ("--order 4,x", "--orders"), ("--seed 1,x", "--seed"), ("--max-drop 1,x", "--max-drop"),
     ("--keep x", "--keep"), ("--calibration-steps 5,x", "--calibration-steps")],
)  # fmt: skip
def test_a_value_that_is_no_number_is_refused_by_an_example_that_works(tmp_path: Path, typed: str, flag: str) -> None:
    source = model_directory(tmp_path / "model")
    said = call("sweep", source, "--out", tmp_path / "made", *typed.split()).stderr
    assert f"Invalid value for {flag}: 'x' is no" in said
    found = re.search(r"such as (--\S+) (\S+)\.", said)
    assert found is not None
    assert found[1] == flag
    option = "order" if flag == "--orders" else flag[2:].replace("-", "_")
    values = values_of(option, found[2])
    assert values
    for value in values:
        assert type(value) in TABLE[option].kinds
        check_options(Options(**{option: value}))


def test_the_use_of_the_command_is_said_in_plain_words() -> None:
    for arguments in (["--help"], ["model", "--orders", "4,x"]):
        said = call("sweep", *arguments).output
        assert "Usage: main sweep [OPTIONS] SOURCE...\n" in said
        assert "main sweep  " not in said
