"""Models of long convolutions, of layers that the user names and of selective layers, from model directory to artifact."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ssm2edge.runtime import Model, Stream
from tests import found_out_models
from tests.command_line import call
from tests.found_out_models import TAPS

pytestmark = pytest.mark.usefixtures("brief_latencies")

HELD_OUT = 6

BUILD = """
[model]
factory = "model.py:{factory}"
{more}

[samples]
file = "samples.npz"

[build]
keep = 1.0
method = "balanced"
block = 8
"""


def pixels() -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(0).standard_normal((HELD_OUT, TAPS, 1)).astype(np.float32)


def directory_of(place: Path, factory: str, more: str = "") -> Path:
    place.mkdir()
    (place / "build.toml").write_text(BUILD.format(factory=factory, more=more))
    (place / "model.py").write_text(Path(found_out_models.__file__).read_text())
    np.savez(place / "samples.npz", held_out=pixels(), calibration=pixels())
    return place


def answers(model: nn.Module) -> np.ndarray[Any, np.dtype[np.float32]]:
    with torch.no_grad():
        return np.asarray(model.eval()(torch.from_numpy(pixels())))


def built(source: Path, *options: object) -> dict[str, Any]:
    out = source.parent / "out"
    result = call("build", source, "--out", out, "--json", *options)
    assert result.exit_code == 0, result.output
    manifest: dict[str, Any] = json.loads((out / "manifest.json").read_text())
    assert manifest["parity"]["passed"] is True
    return manifest


def check_answers(out: Path, expected: np.ndarray[Any, np.dtype[np.float32]], limit: float) -> None:
    """The whole-sequence graph and the stream give the original's answers."""
    with Model(out) as model:
        whole = model.run({"pixels": pixels()})["output"]
    with Stream(out, HELD_OUT) as stream:
        streamed = stream.push({"pixels": pixels()})["output"]
    for actual in (whole, streamed):
        assert np.abs(actual - expected).max() <= limit * np.abs(expected).max()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("factory", "library", "kind", "names", "more", "options"),
    [
        ("convolutions", "long convolution", "SISO bank", ["blocks.0.filter.conv", "blocks.1.filter.conv"], "", ()),
        ("implicit", "probed", "SISO bank", ["blocks.0.filter", "blocks.1.filter"], 'lti = ["blocks.*.filter"]', ()),
        (
            "implicit",
            "probed",
            "SISO bank",
            ["blocks.0.filter", "blocks.1.filter"],
            "",
            ("--lti", "blocks.0.filter", "--lti", "*.1.filter"),
        ),
        ("blends", "probed", "MIMO", ["blocks.0.filter", "blocks.1.filter"], 'lti = ["blocks.?.filter"]', ()),
    ],
)
def test_found_out_layers_are_built_whole_and_streaming(
    tmp_path: Path, factory: str, library: str, kind: str, names: list[str], more: str, options: tuple[str, ...]
) -> None:
    source = directory_of(tmp_path / "model", factory, more)
    manifest = built(source, *options)
    assert [(layer["name"], layer["library"], layer["kind"]) for layer in manifest["layers"]] == [
        (name, library, kind) for name in names
    ]
    for layer in manifest["layers"]:
        assert layer["realised"]["taps"] == TAPS
        assert 0 <= layer["realised"]["error"] < 1e-5
    assert manifest["kept_layers"] == []
    asked = [more.split('"')[1]] if more else list(options[1::2])
    assert manifest["options"].get("lti", []) == asked
    expected = answers(getattr(found_out_models, factory)())
    assert manifest["streaming"] == {"available": True, "block": 8, "reason": None}
    check_answers(tmp_path / "out", expected, 1e-4)
    assert call("verify", tmp_path / "out", "--json").exit_code == 0


@pytest.mark.slow
def test_fewer_states_cost_what_the_manifest_says_beside_the_realisation(tmp_path: Path) -> None:
    manifest = built(directory_of(tmp_path / "model", "convolutions"), "--order", 4)
    for layer in manifest["layers"]:
        assert layer["order_after"] == 4
        assert layer["realised"]["error"] < 1e-5 < layer["h2_error_relative"]


@pytest.mark.slow
def test_selective_layers_stay_and_are_named(tmp_path: Path) -> None:
    source = directory_of(tmp_path / "model", "half_selective")
    manifest = built(source)
    assert [layer["name"] for layer in manifest["layers"]] == ["blocks.0.filter.conv"]
    (kept,) = manifest["kept_layers"]
    assert (kept["name"], kept["library"]) == ("blocks.1.filter", "Mamba")
    assert "no linear time-invariant system" in kept["reason"]
    check_answers(tmp_path / "out", answers(found_out_models.half_selective()), 1e-4)
    inspected = json.loads(call("inspect", source, "--json").stdout)
    assert inspected["kept_layers"] == [kept]
    (layer,) = inspected["layers"]
    assert layer["realised"]["taps"] == TAPS
    text = " ".join(call("inspect", source).stdout.split())
    assert "Layers that stay as they are" in text
    assert "realised from 96 taps" in text
    assert "blocks.1.filter" in text


def test_models_of_selective_layers_alone_are_refused(tmp_path: Path) -> None:
    source = directory_of(tmp_path / "model", "selective")
    for command in (("build", source, "--out", tmp_path / "out"), ("inspect", source)):
        result = call(*command)
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
        assert "blocks.0.filter (Mamba)" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "options", "said"),
    [
        ("", ("--lti", "blocks.*.gate"), "No module of the model is named 'blocks.*.gate'"),
        ("", ("--lti", "blocks.0"), "blocks.0 is not linear"),
        ('lti = "blocks"', (), "model.lti as list"),
        ("lti = [3]", (), "model.lti as a list of names"),
    ],
)
def test_bad_names_are_refused(tmp_path: Path, more: str, options: tuple[str, ...], said: str) -> None:
    source = directory_of(tmp_path / "model", "implicit", more)
    result = call("build", source, "--out", tmp_path / "out", *options)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert said in result.stderr
    assert not (tmp_path / "out").exists()
