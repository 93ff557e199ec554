"""The original runs again where its code is: for `verify --live`, `bench --live` and new references."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from scripts import record_reference
from ssm2edge.artifact import open_artifact
from ssm2edge.errors import UserError
from ssm2edge.loading import fingerprint_of, load_model, load_user_model, open_source
from ssm2edge.original.live import open_original
from tests.command_line import call
from tests.model_directories import LENGTH, Built, model_directory

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("brief_latencies")]


@pytest.fixture
def place(tiny_build: Built) -> Path:
    return tiny_build.place


@pytest.fixture
def copy(place: Path, tmp_path: Path) -> Path:
    """The model and its artifact, free to be changed."""
    shutil.copytree(place, tmp_path / "copy")
    return tmp_path / "copy"


def scale_weights(model: Path, factor: float) -> None:
    weights = load_file(model / "weights.safetensors")
    save_file({name: value * factor if name.endswith(".D") else value for name, value in weights.items()}, model / "weights.new")
    (model / "weights.new").replace(model / "weights.safetensors")


def test_manifest_says_where_the_original_ran_and_what_graphs_cost(place: Path) -> None:
    manifest = open_artifact(place / "deep" / "out").manifest
    assert manifest.original.kind == "cpu"
    assert [entry.batch for entry in manifest.original.latencies] == [1]
    assert set(manifest.costs) == {"offline", "stream"}
    assert all(cost.nodes > 10 and cost.multiply_adds > 100 for cost in manifest.costs.values())
    assert manifest.latency is not None
    assert set(manifest.latency.workload) == {"offline", "stream"}
    assert all(ratio.low <= ratio.ratio <= ratio.high for ratio in manifest.latency.workload.values())


def test_live_check_passes_for_the_model_that_was_built(place: Path) -> None:
    result = call("verify", place / "deep" / "out", "--live", "--json")
    assert result.exit_code == 0, result.output
    (check,) = (entry for entry in json.loads(result.stdout)["checks"] if entry["name"] == "live.original")
    assert check["passed"]
    assert check["figure"] < 1e-5


def test_live_check_fails_for_another_model_and_names_what_changed(copy: Path) -> None:
    scale_weights(copy / "model", 1.5)
    result = call("verify", copy / "deep" / "out", "--live", "--source", copy / "model", "--json")
    assert result.exit_code == 1
    failed = [entry for entry in json.loads(result.stdout)["checks"] if not entry["passed"]]
    assert [entry["name"] for entry in failed] == ["live.original"]
    assert "weights.safetensors changed" in failed[0]["detail"]


def test_other_weights_are_named_however_little_they_answer_otherwise(copy: Path) -> None:
    """The answers differ by less than processors do."""
    scale_weights(copy / "model", 1 + 1e-5)
    live = ("--live", "--source", copy / "model")
    result = call("verify", copy / "deep" / "out", *live, "--json")
    assert result.exit_code == 1
    (check,) = (entry for entry in json.loads(result.stdout)["checks"] if not entry["passed"])
    assert check["name"] == "live.original"
    assert check["figure"] < check["limit"]
    assert "other weights than the artifact was built from" in check["detail"]
    result = call("bench", copy / "deep" / "out", *live, "--threads", 1, "--seconds", 0.1)
    assert result.exit_code == 2
    assert f"{copy / 'model'} has other weights than the artifact was built from" in result.stderr


def test_a_built_module_and_its_saved_weights_are_the_same_model(tmp_path: Path) -> None:
    """Whatever the names, the precision and the wrappers of training."""
    source = model_directory(tmp_path / "model")
    user = load_user_model(open_source(str(source)))
    trained = load_model(open_source(str(source))).double().train()
    assert fingerprint_of(trained) == fingerprint_of(nn.Sequential(trained)) == user.fingerprint
    with torch.no_grad():
        next(trained.parameters()).flatten()[0] += 1e-3
    assert fingerprint_of(trained) != user.fingerprint


def test_model_that_moved_away_takes_one_sentence(copy: Path) -> None:
    result = call("verify", copy / "deep" / "out", "--live", "--source", copy / "nowhere")
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1


@pytest.mark.slow
def test_where_the_model_is_can_be_said_from_elsewhere(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = json.loads((copy / "deep" / "out" / "manifest.json").read_text())
    manifest["source"]["path"] = "model"
    del manifest["seal"]
    (copy / "deep" / "out" / "manifest.json").write_text(json.dumps(manifest))
    (copy / "elsewhere").mkdir()
    monkeypatch.chdir(copy / "elsewhere")
    result = call("verify", copy / "deep" / "out", "--live")
    assert result.exit_code == 2
    assert result.stderr == "ssm2edge: The model was built from model, which is not here; say with --source where it is.\n"
    assert call("verify", copy / "deep" / "out", "--live", "--source", copy / "model").exit_code == 0


@pytest.mark.slow
def test_bench_measures_everything_in_turns(place: Path, copy: Path) -> None:
    arguments = ("--against", copy / "deep" / "out", "--threads", 1, "--sample-rate", 100, "--seconds", 0.2, "--live", "--json")
    result = call("bench", place / "deep" / "out", *arguments)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    timed = {(entry["name"], entry["batch"]): entry for entry in found["timed"]}
    assert set(timed) == {
        ("offline", 1), ("out offline", 1), ("stream", 1), ("out stream", 1), ("original", 1), ("offline", 8)
    }  # fmt: skip
    for (name, batch), entry in timed.items():
        assert 0 < entry["p50"] <= entry["p90"] <= entry["p99"]
        samples = 4 if "stream" in name else LENGTH
        assert entry["samples"] == samples
        assert entry["throughput"] == pytest.approx(batch * samples / entry["p50"])
        assert (entry["against"] is None) == (name in ("offline", "stream"))
        if batch == 1:
            assert entry["real_time"] == pytest.approx(samples / 100 / entry["p50"])
    for start in found["starts"].values():
        assert start["load"] > 0
        assert start["peak_memory"] is None or start["peak_memory"] > start["added_memory"] >= 0
    assert found["environment"]["threads"] == 1
    assert found["environment"]["cores"] >= 1


def test_bench_is_a_table_for_people(place: Path) -> None:
    result = call("bench", place / "deep" / "out", "--threads", 1, "--seconds", 0.1)
    assert result.exit_code == 0, result.output
    for word in ("p99", "samples a second", "peak memory", "The original, recorded on"):
        assert word in result.stdout


def test_artifacts_of_other_models_are_not_timed_against(place: Path, tmp_path: Path) -> None:
    from tests.first_order import build

    result = call("bench", place / "deep" / "out", "--against", build(tmp_path / "other"), "--threads", 1, "--seconds", 0.1)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1


@pytest.mark.slow
def test_reference_recorded_again_keeps_the_graphs(copy: Path) -> None:
    before = open_artifact(copy / "deep" / "out")
    verdict, record, difference = record_reference.rerecord(copy / "deep" / "out", open_original(before.manifest), "cpu")
    after = open_artifact(copy / "deep" / "out")
    assert verdict.passed
    assert difference < 1e-5
    assert after.manifest.original == record
    for name in ("offline.onnx", "stream.onnx"):
        assert after.manifest.files[name] == before.manifest.files[name]
    np.testing.assert_array_equal(after.reference.reduced["output"], before.reference.reduced["output"])


def test_reference_of_another_model_is_refused_and_nothing_is_replaced(copy: Path) -> None:
    scale_weights(copy / "model", 1.5)
    manifest = (copy / "deep" / "out" / "manifest.json").read_bytes()
    original = open_original(open_artifact(copy / "deep" / "out").manifest, str(copy / "model"))
    with pytest.raises(UserError, match=r"weights\.safetensors changed"):
        record_reference.rerecord(copy / "deep" / "out", original, "cpu")
    assert (copy / "deep" / "out" / "manifest.json").read_bytes() == manifest
