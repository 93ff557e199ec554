"""`build` end to end on a tiny trained-looking model: a verified artifact, equal to the original at full order."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result

from ssm2edge.artifact import load_figures
from ssm2edge.cache import FOLDER
from ssm2edge.loading import open_source
from ssm2edge.options import Options
from ssm2edge.pipeline import build
from ssm2edge.runtime import Model, Stream
from ssm2edge.stages import examine
from ssm2edge.verification import Verdict
from ssm2edge.verification.check import Check
from tests.command_line import STAGE, call, said, stages
from tests.model_directories import HELD_OUT, LENGTH, Built, model_directory, samples, tiny_model

pytestmark = pytest.mark.usefixtures("brief_latencies")

REPORT = ("report.html", "report.json")
PACKS = ("reference.npz", "probes.npz", "responses.npz")


def original_answers() -> np.ndarray:
    with torch.no_grad():
        return np.asarray(tiny_model()(torch.from_numpy(samples()["held_out.pixels"])))


@pytest.fixture
def built(tiny_build: Built) -> tuple[Path, Result]:
    return tiny_build.out, tiny_build.result


def test_files_are_published_and_nothing_else_is_left(built: tuple[Path, Result]) -> None:
    out, result = built
    assert {path.name for path in out.iterdir()} == {*REPORT, "manifest.json", "offline.onnx", *PACKS, "stream.onnx"}
    assert {path.name for path in out.parent.iterdir()} == {"out", FOLDER}
    assert said(result) == ""


@pytest.mark.slow
def test_a_build_writes_a_line_a_stage_where_nobody_watches(tmp_path: Path) -> None:
    result = call("build", model_directory(tmp_path / "model"), "--out", tmp_path / "out")
    assert result.exit_code == 0
    expected = ["load", "original", "reduce", "replace", "export", "bound", "verify", "measure", "report", "publish"]
    assert [stage for stage in stages(result) if stage != "calibrate"] == expected
    lines = [line for line in result.stderr.splitlines(keepends=True) if STAGE.fullmatch(line)]
    seconds = [float(line.split()[0]) for line in lines]
    assert seconds == sorted(seconds)
    assert said(result).count("\n") <= 1


@pytest.mark.slow
def test_builds_run_from_the_directory_of_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = model_directory(tmp_path / "model")
    monkeypatch.chdir(directory)
    result = call("build", ".", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output


def test_manifest_says_what_was_done(built: tuple[Path, Result]) -> None:
    out, result = built
    manifest = json.loads((out / "manifest.json").read_text())
    assert json.loads(result.stdout)["manifest"] == manifest
    assert manifest["options"] == {"order": 6, "method": "gradient", "horizon": LENGTH, "block": 4}
    assert manifest["source"]["factory"] == "model.py:make"
    assert set(manifest["source"]["sha256"]) == {"build.toml", "model.py", "weights.safetensors", "samples.npz"}
    assert [layer["name"] for layer in manifest["layers"]] == ["layers.0", "layers.1"]
    for layer in manifest["layers"]:
        assert (layer["order_before"], layer["order_after"], layer["channels"], layer["horizon"]) == (6, 6, 4, LENGTH)
        assert 0 < layer["spectral_radius"] < 1
        assert 0 <= layer["h2_error_relative"] < 1e-5
        assert layer["outcomes"] == {"identity": 4}
    model = tiny_model()
    before = sum(p.numel() for p in model.parameters())
    # Per channel: 3 complex poles and coefficients, step and skip before; two numbers a state and the feedthrough after.
    assert manifest["parameters"] == {
        "ssm_before": 2 * 4 * (4 * 3 + 2),
        "ssm_after": 2 * 4 * (2 * 6 + 1),
        "model_before": before,
        "model_after": before - 2 * 4,
    }
    right = float((original_answers().argmax(1) == samples()["labels"]).mean())
    assert manifest["accuracy"] == {"original": right, "artifact": right, "samples": HELD_OUT}
    assert manifest["streaming"] == {"available": True, "block": 4, "reason": None}
    assert [state["shape"] for state in manifest["states"]] == [[6, 4], [6, 4], [9]]
    assert manifest["latency"]["original"] > 0
    assert set(manifest["files"]) == {*REPORT, "offline.onnx", *PACKS, "stream.onnx"}


def test_full_order_gives_the_originals_answers(built: tuple[Path, Result]) -> None:
    out, _ = built
    pixels, expected = samples()["held_out.pixels"], original_answers()
    with Model(out) as model:
        actual = model.run({"pixels": pixels})["output"]
    with Stream(out, HELD_OUT) as stream:
        streamed = stream.push({"pixels": pixels})["output"]
    for answer in (actual, streamed.reshape(HELD_OUT, -1, 10)[:, -1] if streamed.ndim == 3 else streamed):
        assert np.abs(answer - expected).max() <= 1e-4 * np.abs(expected).max()
        assert (answer.argmax(1) == expected.argmax(1)).all()


def test_figures_of_the_report_are_those_of_the_build(built: tuple[Path, Result]) -> None:
    out, _ = built
    figures = load_figures(out / "report.json")
    assert [layer.name for layer in figures.layers] == ["layers.0", "layers.1"]
    # Nothing was reduced: what is left is rounding.
    assert all(layer.errors[-1] < 1e-5 for layer in figures.layers)
    assert all(response.impulse_before and response.error < 1e-5 for layer in figures.layers for response in layer.responses)
    assert figures.output_error < 1e-4 * figures.output_size
    assert [(profile.graph, profile.steps) for profile in figures.profiles] == [("offline.onnx", LENGTH), ("stream.onnx", 4)]
    for profile in figures.profiles:
        assert {share.layer for share in profile.shares} - {"*"} == {"", "layers.0", "layers.1"}
        # The two layers are alike, and so is what is computed for them.
        kinds = [{share.kind for share in profile.shares if share.layer == name} for name in ("layers.0", "layers.1")]
        assert len(kinds[0] & kinds[1]) >= 0.7 * len(kinds[0] | kinds[1])
        assert all(share.seconds >= 0 and share.nodes > 0 for share in profile.shares)
    assert (out / "report.html").read_text(encoding="utf-8").count('<svg class="chart"') >= 20


def test_verify_agrees(built: tuple[Path, Result]) -> None:
    result = call("verify", built[0], "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout)["passed"] is True


def test_taken_places_need_force(built: tuple[Path, Result]) -> None:
    out, _ = built
    before = (out / "manifest.json").read_bytes()
    result = call("build", out.parent.parent / "model", "--out", out)
    assert result.exit_code == 2
    assert "--force" in result.stderr
    assert (out / "manifest.json").read_bytes() == before


def test_inspect_measures_every_layer(built: tuple[Path, Result]) -> None:
    source = built[0].parent.parent / "model"
    result = call("inspect", source, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    layers = json.loads(result.stdout)["layers"]
    assert [layer["name"] for layer in layers] == ["layers.0", "layers.1"]
    for layer in layers:
        assert (layer["order"], layer["channels"], layer["horizon"], layer["parameters"]) == (6, 4, LENGTH, 4 * (4 * 3 + 2))
        assert 0 < layer["spectral_radius"] < 1
        # Orders 3 and 1: what fewer states cost grows.
        assert 0 < layer["costs"]["3"] < layer["costs"]["1"] < 1
        assert 1 > layer["hankel_decay"]["1"] > layer["hankel_decay"]["3"] > 0
    text = call("inspect", source, "--horizon", "inf")
    assert text.exit_code == 0
    assert "layers.0" in text.stdout


@pytest.mark.slow
def test_models_that_cannot_stream_are_built_whole(tmp_path: Path) -> None:
    source = model_directory(tmp_path / "model")
    code = (source / "model.py").read_text().replace("z = self.encoder(pixels)\n", "z = self.encoder(pixels).flip(1)\n")
    (source / "model.py").write_text(code)
    out = tmp_path / "out"
    built = build(
        open_source(str(source)), Options(order=4, method="balanced", calibrate="none"), out, False, lambda stage, share: None
    )
    assert built.verdict.passed
    assert {path.name for path in out.iterdir()} == {*REPORT, "manifest.json", "offline.onnx", *PACKS}
    streaming = built.manifest.streaming
    assert (streaming.available, streaming.block, built.manifest.states) == (False, None, ())
    assert streaming.reason is not None
    assert "aten.flip" in streaming.reason
    line = next(index for index, text in enumerate(code.splitlines(), 1) if "flip" in text)
    assert f"model.py:{line} " in streaming.reason
    assert all(0 < layer.h2_error_relative < 1 and layer.order_after == 4 for layer in built.manifest.layers)


@pytest.mark.slow
def test_artifacts_that_fail_are_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, out = model_directory(tmp_path / "model"), tmp_path / "out"
    verdict = Verdict((Check("offline.parity", 0.5, 1e-4, False, "the graph is wrong"),))
    monkeypatch.setattr(examine, "examine", lambda *_: verdict)
    result = call("build", source, "--out", out)
    assert (result.exit_code, result.stdout) == (1, "")
    assert stages(result)[-1] == "verify"
    sentence = "was not published (offline.parity: the graph is wrong; 0.5, the limit is 0.0001)."
    assert said(result) == f"ssm2edge: The artifact failed its verification and {sentence}\n"
    assert {path.name for path in tmp_path.iterdir()} == {"model", FOLDER}


@pytest.mark.slow
def test_failing_exports_say_one_sentence_to_the_process(tmp_path: Path) -> None:
    source = model_directory(tmp_path / "model")
    # Axis 2 has one element, which the encoder does not let vary.
    command = [sys.executable, "-m", "ssm2edge.cli", "build", str(source), "--out", str(tmp_path / "out"), "--time-axis", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("ssm2edge: The model cannot be exported")
    assert done.stderr.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"model"}
