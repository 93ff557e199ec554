"""Builds of S4 models, from their directory to a verified artifact: low-rank, in both directions, tied."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ssm2edge.runtime import Model
from tests import published_s4
from tests.command_line import call

pytestmark = pytest.mark.usefixtures("brief_latencies")

LENGTH, HELD_OUT = 24, 12


def model_of(options: dict[str, Any]) -> nn.Module:
    torch.manual_seed(0)
    return published_s4.make(**options).eval()


def samples() -> dict[str, Any]:
    generator = np.random.default_rng(0)
    return {
        "calibration.signal": generator.standard_normal((12, LENGTH, 1)).astype(np.float32),
        "held_out.signal": generator.standard_normal((HELD_OUT, LENGTH, 1)).astype(np.float32),
        "labels": generator.integers(0, 3, HELD_OUT),
    }


def directory(place: Path, options: dict[str, Any]) -> Path:
    place.mkdir()
    arguments = ", ".join(f"{name} = {json.dumps(value)}" for name, value in options.items())
    (place / "build.toml").write_text(
        f'[model]\nfactory = "model.py:make"\narguments = {{ {arguments} }}\nweights = "weights.safetensors"\n'
        '[samples]\nfile = "samples.npz"\ntime_axis = 1\n[task]\nmetric = "accuracy"\n',
        encoding="utf-8",
    )
    (place / "model.py").write_text(Path(published_s4.__file__).read_text(encoding="utf-8"), encoding="utf-8")
    save_file(model_of(options).state_dict(), place / "weights.safetensors")
    np.savez(place / "samples.npz", **samples())
    return place


def built(place: Path, options: dict[str, Any], *arguments: object) -> tuple[Path, dict[str, Any]]:
    source, out = directory(place / "model", options), place / "out"
    result = call("build", source, "--out", out, *arguments, "--json")
    assert result.exit_code == 0, result.output
    verified = call("verify", out)
    assert verified.exit_code == 0, verified.output
    return out, json.loads((out / "manifest.json").read_text())


def error_of(out: Path, options: dict[str, Any]) -> float:
    """Relative error of the artifact against the original on held-out samples."""
    signal = samples()["held_out.signal"]
    with torch.no_grad():
        expected = model_of(options)(torch.from_numpy(signal)).numpy()
    with Model(out) as model:
        actual = model.run({"signal": signal})["output"]
    return float(np.abs(actual - expected).max() / np.abs(expected).max())


@pytest.mark.slow
def test_four_low_rank_layers(tmp_path: Path) -> None:
    options = {"depth": 4, "d_state": 8, "rank": 1}
    out, manifest = built(tmp_path, options, "--order", 6)
    names = [f"blocks.{i}.layer" for i in range(4)]
    assert [(layer["name"], layer["library"], layer["order_before"], layer["order_after"]) for layer in manifest["layers"]] == [
        (name, "S4", 8, 6) for name in names
    ]
    assert manifest["streaming"]["available"] is True
    assert manifest["parameters"]["ssm_after"] == 4 * 4 * (2 * 6 + 1)
    assert error_of(out, options) < 0.1


@pytest.mark.slow
def test_low_rank_layers_at_full_order_answer_as_the_original(tmp_path: Path) -> None:
    options = {"depth": 2, "d_state": 8, "rank": 1}
    out, _ = built(tmp_path, options, "--order", 8)
    assert error_of(out, options) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_both_directions_are_reduced_and_the_manifest_says_why_there_is_no_stream(tmp_path: Path, rank: int) -> None:
    options = {"d_state": 6, "rank": rank, "bidirectional": True}
    out, manifest = built(tmp_path, options, "--order", 5)
    names = [f"blocks.{i}.layer.{part}" for i in range(2) for part in ("causal", "anticausal")]
    assert [(layer["name"], layer["order_after"]) for layer in manifest["layers"]] == [(name, 5) for name in names]
    assert all(0 < layer["h2_error_relative"] < 0.3 for layer in manifest["layers"])
    streaming = manifest["streaming"]
    assert streaming["available"] is False
    assert "layer blocks.0.layer runs from the end of the sequence to its start" in streaming["reason"]
    assert not (out / "stream.onnx").exists()
    assert error_of(out, options) < 0.2


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_layers_that_are_called_at_a_rate_are_built_at_it(tmp_path: Path, rank: int) -> None:
    options = {"d_state": 6, "rank": rank, "rate": 2.0}
    out, _ = built(tmp_path, options, "--order", 6)
    assert error_of(out, options) < 1e-4


@pytest.mark.slow
def test_both_directions_are_calibrated(tmp_path: Path) -> None:
    options = {"depth": 1, "d_state": 6, "bidirectional": True}
    _, manifest = built(tmp_path, options, "--order", 2, "--calibrate", "match", "--calibration-steps", 12)
    assert manifest["calibration"]["after"] <= manifest["calibration"]["before"]


@pytest.mark.slow
@pytest.mark.parametrize(("order", "shared"), [(3, False), (5, True), (6, True)])
def test_tied_models_never_grow_and_share_poles_where_they_would(tmp_path: Path, order: int, shared: bool) -> None:
    options = {"width": 8, "depth": 1, "d_state": 6, "rank": 1, "sets": 1}
    out, manifest = built(tmp_path, options, "--order", order)
    counts = manifest["parameters"]
    stored = 6 + 6 + 6 + 8 * 6 + 8 + 8
    assert counts["ssm_before"] == stored
    assert counts["ssm_after"] == (order + 8 + 8 * (order + 1) if shared else 8 * (2 * order + 1))
    assert counts["ssm_after"] <= counts["ssm_before"]
    assert counts["model_after"] - counts["ssm_after"] == counts["model_before"] - counts["ssm_before"]
    assert [layer["kind"] for layer in manifest["layers"]] == ["SISO bank with shared poles"]
    assert error_of(out, options) < (1e-4 if order == 6 else 0.3)


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [("--calibrate", "spectrum"), ("--calibrate", "none", "--method", "singular_perturbation")])
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_layers_with_a_step_for_every_state_are_reduced_to_what_is_no_larger(
    tmp_path: Path, rank: int, bidirectional: bool, arguments: tuple[str, ...]
) -> None:
    options = {"width": 8, "depth": 1, "d_state": 16, "sets": 1, "dt_tie": False, "rank": rank, "bidirectional": bidirectional}
    out, manifest = built(tmp_path, options, "--order", 16, *arguments)
    counts = manifest["parameters"]
    assert counts["ssm_after"] <= counts["ssm_before"]
    # One state more, a pole and a residue for each channel and direction, would be too many.
    assert counts["ssm_after"] + 2 * 8 * (1 + bidirectional) > counts["ssm_before"]
    assert len({layer["order_after"] for layer in manifest["layers"]}) == 1
    assert error_of(out, options) < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("calibrate", ["spectrum", "match"])
def test_tied_models_are_calibrated_with_their_shared_poles(tmp_path: Path, calibrate: str) -> None:
    options = {"width": 4, "depth": 2, "d_state": 6, "sets": 1}
    arguments = ("--order", 4, "--calibrate", calibrate, *(("--calibration-steps", 12) if calibrate == "match" else ()))
    _, manifest = built(tmp_path, options, *arguments)
    assert manifest["parameters"]["ssm_after"] == 2 * (4 + 4 + 4 * 5)
    if calibrate == "match":
        assert manifest["calibration"]["after"] <= manifest["calibration"]["before"]
