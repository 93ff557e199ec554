"""The tables' script: it fills what is missing and nothing else, and its page and pictures tell the stored figures."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts.reproduce_tables import digest, stored
from scripts.table_picture import picture
from scripts.table_text import page

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPT = ROOT / "scripts" / "reproduce_tables.py"


def run(results: Path, *arguments: str) -> str:
    command = [sys.executable, str(SCRIPT), "--results", str(results), "--page", str(results / "tables.md"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_quick_tables_are_filled_once_and_go_on(tmp_path: Path) -> None:
    run(tmp_path, "--quick")
    file = tmp_path / "activity" / "results" / "tables.json"
    figures = json.loads(file.read_text())
    assert set(figures["cells"]) == {f"{way} 1/16" for way in ("balanced", "gradient", "spectrum", "match")}
    assert 0.8 < figures["original"]["value"] < 0.9
    graphs = figures["deployed"]["1/16"]
    assert set(graphs["bytes"]) == {"offline", "stream"}
    assert figures["cells"]["match 1/16"]["parameters"] < figures["original"]["parameters"]
    bound = figures["cells"]["match 1/16"]["bound"]
    assert 0 < bound["estimated"] <= bound["certified"] * (1 + 1e-9)
    # One figure is lost: that one is computed again, and the others stay as they are.
    figures["cells"]["gradient 1/16"]["seconds"] = -1.0
    del figures["cells"]["balanced 1/16"]
    file.write_text(json.dumps(figures))
    told = run(tmp_path, "--models", "activity", "--ways", "balanced,gradient", "--divisors", "16")
    assert len(re.findall(r"1/16: ", told)) == 1
    again = json.loads(file.read_text())
    assert again["cells"]["gradient 1/16"]["seconds"] == -1.0
    assert again["cells"]["balanced 1/16"]["value"] > 0


@pytest.mark.slow
def test_figures_of_other_weights_are_not_kept(tmp_path: Path) -> None:
    file = tmp_path / "sysid" / "results" / "tables.json"
    arguments = ("--models", "sysid", "--ways", "balanced", "--divisors", "16")
    run(tmp_path, *arguments)
    figures = json.loads(file.read_text())
    cell = figures["cells"]["balanced 1/16"]
    figures["weights"], cell["value"] = "0" * 64, -1.0
    figures["cells"]["match 1/16"] = cell
    file.write_text(json.dumps(figures))
    assert "other weights" in run(tmp_path, *arguments)
    again = json.loads(file.read_text())
    assert set(again["cells"]) == {"balanced 1/16"}
    assert again["cells"]["balanced 1/16"]["value"] > 0


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


def run_of(start: str, seed: int, held_back_loss: float, held_out: float) -> dict[str, Any]:
    return {
        "initialisation": start, "order": 8, "epochs": 3, "learning_rate": 0.003, "seed": seed, "held_out_before": 0.25,
        "held_back_loss": [9.0, held_back_loss], "held_out": held_out,
    }  # fmt: skip


def test_the_held_back_part_chooses_the_retraining_that_is_told() -> None:
    # The held-out part would choose balanced, and a larger budget is not the others'.
    runs = [
        run_of("gradient", 0, 0.5, 0.4), run_of("gradient", 1, 0.9, 0.45), run_of("balanced", 0, 0.6, 0.49),
        run_of("hippo", 0, 0.7, 0.3), run_of("hippo", 0, 0.1, 0.48) | {"epochs": 30},
    ]  # fmt: skip
    known = figures() | {"retraining": {"metric": "accuracy", "original": 0.5, "runs": runs}}
    known["cells"]["match 1/16"] = known["cells"]["match 1/8"]
    told = page({"activity": known})
    assert "| 1/16 |  | 0.4875 | 0.4250 |" in told
    assert "1/16 of the states, 3 epochs with labels from `gradient` (mean over 2 seeds)" in told
    assert "0.4250: 85.0 % of the original's accuracy" in told
    assert "0.3000: 60.0 % of the original's accuracy" in told
    assert "| 8 | 3 | balanced | 0.003 | 1 | 0.2500 | 0.4900 (0.4900 to 0.4900) |" in told
    assert "retrained, 1/16 of the states: 0.4250" in picture(known)


def test_committed_page_is_made_of_committed_figures() -> None:
    assert (ROOT / "docs" / "tables.md").read_text(encoding="utf-8") == page(stored(ROOT / "models"))


def test_committed_figures_are_those_of_the_committed_weights() -> None:
    for name, known in stored(ROOT / "models").items():
        assert known["weights"] == digest(ROOT / "models" / name / "weights.safetensors"), name


def test_committed_pictures_are_made_of_committed_figures() -> None:
    for name, known in stored(ROOT / "models").items():
        assert (ROOT / "models" / name / "results" / "tables.svg").read_text(encoding="utf-8") == picture(known)
