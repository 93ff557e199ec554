"""`build --calibrate`: what is published says what calibration did; what cannot be calibrated is refused and leaves nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssm2edge.layers import find_layers
from ssm2edge.reduction import reduce_system
from tests.command_line import call
from tests.model_directories import BUILD, LENGTH, model_directory, samples, tiny_model

pytestmark = pytest.mark.usefixtures("brief_latencies")


def manifest_of(source: Path, *options: object) -> dict[str, Any]:
    out = source.parent / "out"
    result = call("build", source, "--out", out, "--order", 2, *options)
    assert result.exit_code == 0, result.output
    manifest: dict[str, Any] = json.loads((out / "manifest.json").read_text())
    return manifest


@pytest.mark.slow
def test_matching_is_published_with_what_it_did(tmp_path: Path) -> None:
    source = model_directory(tmp_path / "model")
    manifest = manifest_of(source, "--calibrate", "match", "--calibration-steps", 3, "--seed", 4)
    assert manifest["options"]["calibrate"] == "match"
    assert manifest["options"]["calibration_steps"] == 3
    assert manifest["options"]["seed"] == 4
    assert set(manifest["calibration"]) == {"before", "after", "best_step"}
    assert 0 < manifest["calibration"]["after"] <= manifest["calibration"]["before"]
    assert manifest["calibration"]["best_step"] in range(4)
    assert [layer["order_after"] for layer in manifest["layers"]] == [2, 2]
    assert call("verify", tmp_path / "out").exit_code == 0


@pytest.mark.slow
def test_build_toml_may_ask_for_calibration(tmp_path: Path) -> None:
    source = model_directory(tmp_path / "model", BUILD.replace('calibrate = "none"', 'calibrate = "spectrum"'))
    manifest = manifest_of(source)
    assert manifest["options"]["calibrate"] == "spectrum"
    assert "calibration_steps" not in manifest["options"]
    assert manifest["calibration"] is None
    # White errors are what spectra give up something of.
    for layer, found in zip(manifest["layers"], find_layers(tiny_model()), strict=True):
        assert layer["h2_error"] > 1.001 * float(reduce_system(found.system, 2, "gradient", LENGTH).error.norm())


@pytest.mark.parametrize("kind", ["spectrum", "match"])
def test_without_calibration_samples_there_is_one_sentence_and_nothing_else(tmp_path: Path, kind: str) -> None:
    source = model_directory(tmp_path / "model")
    np.savez(source / "samples.npz", **{key: x for key, x in samples().items() if not key.startswith("calibration")})
    result = call("build", source, "--out", tmp_path / "out", "--order", 2, "--calibrate", kind, "--json")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["exit_code"] == 2
    assert result.stderr.startswith("ssm2edge: There are no calibration samples; ")
    assert result.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--calibrate", "bogus"], "bogus"),
        (["--calibrate", "match", "--calibration-steps", 0], "at least 1 step"),
        (["--calibrate", "match", "--seed", -1], "seed -1"),
    ],
)
def test_impossible_options_are_refused_and_leave_nothing(tmp_path: Path, options: list[object], said: str) -> None:
    source = model_directory(tmp_path / "model")
    result = call("build", source, "--out", tmp_path / "out", "--order", 2, *options)
    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_unknown_kind_in_build_toml_is_refused_by_name(tmp_path: Path) -> None:
    source = model_directory(tmp_path / "model", BUILD.replace('calibrate = "none"', 'calibrate = "labels"'))
    result = call("build", source, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "no calibration 'labels'" in result.stderr
