"""The tables: one sweep has all their cells, their figures are those of its builds, and the page and pictures show them."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import ssm2edge
from scripts import finetune
from scripts.reproduce_tables import digest, stored
from scripts.retraining_table import EPOCHS, retrained_cells
from scripts.table_figures import figures_of, latencies
from scripts.table_picture import picture
from scripts.table_text import page, retraining
from ssm2edge.loading import open_source
from ssm2edge.pipeline import load
from ssm2edge.reduction.layerwise import reduce_layers
from ssm2edge.sweeps.grid import combinations, grids_of
from ssm2edge.sweeps.plan import read_plan
from tests.model_directories import model_directory, samples

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.slow
@pytest.mark.usefixtures("brief_latencies")
def test_figures_are_those_of_the_builds_of_a_sweep(tmp_path: Path) -> None:
    source, out = model_directory(tmp_path / "model"), tmp_path / "sweep"
    found = ssm2edge.sweep(
        source, out, orders=[4, 3], method="balanced", calibrate=["none", "match"], calibration_steps=2, engine="here"
    )
    known = figures_of(out, found.cells)
    # Four of six states are no whole share.
    assert set(known["cells"]) == {"balanced 1/2", "match 1/2"}
    task = load(open_source(str(source)))
    orders = dict.fromkeys(task.systems, 3)
    made = {name: one.system for name, one in reduce_layers(task.systems, orders, "balanced", task.length).items()}
    # Brute force: the responses of the layers, tap by tap.
    before = np.concatenate([taps(system, task.length) for system in task.systems.values()])
    after = np.concatenate([taps(system, task.length) for system in made.values()])
    # The artifact has its numbers in float32.
    expected = np.linalg.norm(before - after) / np.linalg.norm(before)
    cell = known["cells"]["balanced 1/2"]
    assert cell["h2_error_relative"] == pytest.approx(expected, rel=1e-5)
    assert (cell["states"], known["original"]["states"]) == (2 * 4 * 3, 2 * 4 * 6)
    assert known["original"]["parameters"] - cell["parameters"] == known["original"]["ssm_parameters"] - cell["ssm_parameters"]
    place = next(one for one in found.cells if one.options["order"] == 3 and one.options.get("calibrate", "none") == "none")
    answers = found.artifact(place.name).run(task.held_out)
    ((name, labels),) = task.samples.labels.items()
    assert cell["value"] == (answers[name].argmax(1) == labels).mean()
    bound = known["cells"]["match 1/2"]["bound"]
    assert 0 < bound["estimated"] <= bound["certified"] * (1 + 1e-9)
    graphs = known["deployed"]["1/2"]
    folder = out / graphs["directory"]
    assert graphs["bytes"] == {file.stem: file.stat().st_size for file in folder.glob("*.onnx")}
    timed = latencies(source, folder)
    assert set(timed["seconds"]) == {"original", "offline", "step"}
    ratio, low, high = timed["offline_to_original"]
    assert low <= ratio <= high


def taps(system: Any, length: int) -> NDArray[np.float64]:
    """Impulse responses, by powers of the poles."""
    poles, B, C, D = (part.numpy() for part in system.arrays())
    powers = poles[..., None] ** np.arange(length)
    later = np.einsum("...on,...nt,...ni->...oit", C, powers, B).real
    return np.concatenate([D.real[..., None], later], -1).ravel()


def test_the_sweep_has_every_cell_of_the_tables() -> None:
    asked = read_plan(ROOT / "models" / "tables.toml")
    sources, known = asked["sources"], stored(ROOT / "models")
    assert [Path(source).name for source in sources] == list(known)
    cells: dict[str, set[str]] = {name: set() for name in known}
    for grid in grids_of({}, None, asked["grids"], sources):
        for given in combinations(grid.axes):
            if set(given) == {"order", "method", "calibrate"}:
                way = given["method"] if given["calibrate"] == "none" else given["calibrate"]
                for name in (Path(sources[place]).name for place in grid.places):
                    share = max(known[name]["original"]["orders"].values()) / given["order"]
                    cells[name].add(f"{way} 1/{share:g}")
    for name, figures in known.items():
        assert cells[name] == set(figures["cells"]), name


def figures(metric: str = "accuracy") -> dict[str, Any]:
    cell = {"states": 16, "ssm_parameters": 100, "parameters": 300, "h2_error_relative": 0.25, "seconds": 1.0}
    return {
        "model": "activity",
        "metric": metric,
        "original": {
            "value": 0.5, "samples": 1234, "states": 128, "ssm_parameters": 800, "parameters": 1000, "orders": {"layer": 128}
        },
        "cells": {
            "balanced 1/8": {**cell, "value": 0.125},
            "match 1/8": {**cell, "value": 0.4875, "bound": {"certified": 5e5, "estimated": 3.5}},
        },
        "deployed": {
            "1/8": {
                "bytes": {"offline": 2048, "stream": 4096}, "streams": True, "processor": "P", "rounds": 30,
                "seconds": {"original": 0.02, "offline": 0.001, "step": 3e-5}, "offline_to_original": [0.05, 0.04, 0.1],
            }
        },
    }  # fmt: skip


def test_page_tells_losses_sizes_and_latencies() -> None:
    told = page({"activity": figures()})
    for words in ("| 1.25 |", "1,234", "88 %, 70 %", "70 % of all parameters removed (1/8 of the states)", "0.5000 to 0.4875"):
        assert words.replace("1,234", "1234") in told
    for words in ("2 + 4 KiB", "1.00 ms", "20.0 (10.0 to 25.0)", "30 us", "|  / 3.5 |"):
        assert words in told
    assert "| 37.50 |" in told.replace("; 37.50", "| 37.50")


def test_errors_are_told_in_per_cent_of_the_original() -> None:
    told = page({"sysid": figures("nrmse") | {"model": "sysid"}})
    assert "-2.5 %" in told
    assert "NRMSE 0.5000" in told


@pytest.mark.parametrize("metric", ["accuracy", "nrmse"])
def test_picture_has_a_point_for_every_figure(metric: str) -> None:
    drawn = picture(figures(metric))
    assert drawn.count('class="point"') == 2
    assert "match, 1/8 of the states: 0.4875" in drawn


def test_the_retraining_that_is_shown_goes_on_from_match() -> None:
    runs = [
        {"start": start, "order": 8, "seed": seed, "held_out": value}
        for start, seed, value in (("match", 0, 0.4), ("match", 1, 0.45), ("balanced", 0, 0.49), ("hippo", 0, 0.3))
    ]
    known = figures() | {"retraining": {"metric": "accuracy", "original": 0.5, "epochs": 3, "runs": runs}}
    known["cells"] |= {"match 1/16": known["cells"]["match 1/8"], "balanced 1/16": known["cells"]["balanced 1/8"]}
    told = page({"activity": known})
    assert "| 1/16 | 0.1250 | 0.4875 | 0.4250 |" in told
    assert "1/16 of the states, 3 epochs with labels from `match` (mean over 2 seeds)" in told
    assert "0.4250: 85.0 % of the original's accuracy" in told
    assert "0.3000: 60.0 % of the original's accuracy" in told
    assert "| 8 | `balanced` | 1 | 0.4900 (0.4900 to 0.4900) |" in told
    assert "0.1250 to 0.4900" in retraining({"activity": known})
    assert "retrained, 1/16 of the states: 0.4250" in picture(known)


def test_every_retrained_cell_is_trained_on_its_model_s_data() -> None:
    asked, retrained = read_plan(ROOT / "models" / "tables.toml"), set()
    for grid in grids_of({}, None, asked["grids"], asked["sources"]):
        for given in combinations(grid.axes):
            if "retrain" in given:
                (name,) = (Path(asked["sources"][place]).name for place in grid.places)
                calibrated = given["calibrate"] == "match"
                assert given["retrain"].endswith(f"finetune.py:{name}" + ("" if calibrated else "_from_afar"))
                way = "match" if calibrated else given["method"]
                share = max(stored(ROOT / "models")[name]["original"]["orders"].values()) / given["order"]
                retrained.add((name, way, share, given.get("seed", 0)))
    starts = ("match", "gradient", "balanced", "hippo")
    assert retrained >= set(itertools.product(EPOCHS, starts, [16], range(3)))
    for name in EPOCHS:
        assert callable(getattr(finetune, name))
        assert callable(getattr(finetune, f"{name}_from_afar"))


@pytest.mark.slow
@pytest.mark.usefixtures("brief_latencies")
def test_retrained_cells_are_those_of_the_sweep_s_artifacts(tmp_path: Path) -> None:
    source, out = model_directory(tmp_path / "digits"), tmp_path / "sweep"
    lines = ("from pathlib import Path", "def retrain(model, seed):", "    model.decoder.bias.data[seed] += 100.0",
        "    print('trained', file=Path(__file__).with_name('runs').open('a'))")  # fmt: skip
    (source / "train.py").write_text("\n".join(lines))
    named = {"retrain": f"{source / 'train.py'}:retrain", "seed": [1, 2]}
    labels = samples()["labels"]
    # The classifier answers what its largest bias says.
    expected = [{"start": "balanced", "order": 3, "seed": seed, "held_out": (labels == seed).mean()} for seed in (1, 2)]
    for _ in range(2):
        found = ssm2edge.sweep(source, out, order=3, method="balanced", calibrate="none", engine="here", **named)
        known = retrained_cells("digits", out, found.cells)
        assert known["runs"] == expected
        assert (known["metric"], known["epochs"]) == ("accuracy", EPOCHS["digits"])
        # Cells that are there are not trained again.
        assert len((source / "runs").read_text().split()) == 2


def test_committed_page_is_made_of_committed_figures() -> None:
    assert (ROOT / "docs" / "tables.md").read_text(encoding="utf-8") == page(stored(ROOT / "models"))


def test_committed_figures_are_those_of_the_committed_weights() -> None:
    for name, known in stored(ROOT / "models").items():
        assert known["weights"] == digest(ROOT / "models" / name / "weights.safetensors"), name


def test_committed_pictures_are_made_of_committed_figures() -> None:
    for name, known in stored(ROOT / "models").items():
        assert (ROOT / "models" / name / "results" / "tables.svg").read_text(encoding="utf-8") == picture(known)
