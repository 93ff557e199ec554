"""`--keep`, `--max-error` and `--max-drop` hold what they promise."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ssm2edge.layers import replace_layers
from ssm2edge.loading import open_source
from ssm2edge.orders import Judged, choose_reductions
from ssm2edge.orders.request import Request
from ssm2edge.original.recording import record_outputs
from ssm2edge.pipeline import load
from ssm2edge.reduction import Reduction
from tests.command_line import call
from tests.model_directories import LENGTH, model_directory, samples, tiny_model
from tests.slow_cases import slow

pytestmark = pytest.mark.usefixtures("brief_latencies")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model, with the original's own answers for labels: its accuracy is one."""
    directory = model_directory(tmp_path_factory.mktemp("sizes") / "model")
    arrays = samples()
    with torch.no_grad():
        arrays["labels"] = tiny_model()(torch.from_numpy(arrays["held_out.pixels"])).argmax(1).numpy()
    np.savez(directory / "samples.npz", **arrays)
    return directory


def built(source: Path, out: Path, *arguments: object) -> dict[str, Any]:
    result = call("build", source, "--out", out, "--json", "--method", "balanced", *arguments)
    assert result.exit_code == 0, result.output
    manifest: dict[str, Any] = json.loads(result.stdout)["manifest"]
    return manifest


def kept(manifest: dict[str, Any]) -> int:
    return sum(layer["order_after"] * layer["channels"] for layer in manifest["layers"])


@pytest.mark.slow
def test_a_share_of_the_states_is_kept(source: Path, tmp_path: Path) -> None:
    manifest = built(source, tmp_path / "out", "--keep", 0.5)
    assert kept(manifest) <= 2 * 4 * 6 / 2
    assert kept(manifest) >= 2 * 4 * 6 / 2 - 4
    assert manifest["options"] == {"keep": 0.5, "method": "balanced", "horizon": 24, "block": 1}
    bound = manifest["bound"]
    assert (bound["certified"]["kind"], bound["estimated"]["kind"]) == ("certified", "estimated")
    assert set(bound["certified"]["layers"]) == {"layers.0", "layers.1"}
    parameters = manifest["parameters"]
    # A channel of order r has r poles' and r output coefficients and a feedthrough.
    assert parameters["ssm_after"] == sum(4 * (2 * layer["order_after"] + 1) for layer in manifest["layers"])
    assert parameters["model_before"] - parameters["model_after"] == parameters["ssm_before"] - parameters["ssm_after"]


@pytest.fixture(scope="module")
def judged(source: Path) -> Judged:
    task = load(open_source(str(source)))
    pixels = np.random.default_rng(1).standard_normal((400, LENGTH, 1)).astype(np.float32)
    original = record_outputs(task.model, {"pixels": pixels}, 1)
    parts = {"validation": {"pixels": pixels}, "validation_labels": {"output": original["output"].argmax(1)}}
    return Judged(dataclasses.replace(task, samples=dataclasses.replace(task.samples, **parts)), original, "balanced")


def chosen(judged: Judged, request: Request) -> dict[str, Reduction]:
    return choose_reductions(request, judged, lambda step: None)[0]


def states_of(reductions: dict[str, Reduction]) -> int:
    return sum(4 * reduction.order for reduction in reductions.values())


@pytest.mark.slow
def test_largest_errors_hold_and_larger_ones_allow_smaller_models(judged: Judged) -> None:
    sizes = []
    for error in (0.0, 1e-3, 0.02, 0.5):
        reductions = chosen(judged, Request(max_error=error))
        replaced = replace_layers(judged.task.model, {name: r.system for name, r in reductions.items()})
        inputs = torch.from_numpy(np.asarray(judged.task.samples.validation["pixels"]))
        with torch.no_grad():
            expected, actual = judged.task.model(inputs), replaced(inputs)
        # Blocks are float32: what was chosen in float64 holds up to rounding.
        assert float((actual - expected).norm() / expected.norm()) <= error + 1e-5
        sizes.append(states_of(reductions))
    assert sizes[0] > sizes[-1]
    assert sizes == sorted(sizes, reverse=True)


def test_an_error_held_by_the_bound_takes_more_states_than_a_measured_one(judged: Judged) -> None:
    measured = chosen(judged, Request(max_error=0.3))
    assert states_of(chosen(judged, Request(max_error=0.3, max_error_of="bound"))) >= states_of(measured)


def test_the_metric_falls_by_at_most_the_points_allowed(judged: Judged) -> None:
    labels = judged.task.samples.validation_labels["output"]
    sizes = []
    for points in (0.0, 20.0, 100.0):
        reductions = chosen(judged, Request(max_drop=points))
        replaced = replace_layers(judged.task.model, {name: r.system for name, r in reductions.items()})
        answers = record_outputs(replaced, judged.task.samples.validation, 1)["output"].argmax(1)
        # The original is right on every sample.
        assert 100 * float(np.mean(answers != labels)) <= points + 1e-9
        sizes.append(states_of(reductions))
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 2 * 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--order", 2, "--keep", 0.5), "one way"),
        (("--keep", 0), "share of 0"),
        (("--keep", 1.5), "share of 1.5"),
        slow(("--keep", 0.01), "every channel keeps at least one"),
        (("--max-error", -1), "at least 0"),
        (("--max-drop", "nan"), "at least 0"),
    ],
)
def test_sizes_that_cannot_be_are_refused_in_one_sentence(
    source: Path, tmp_path: Path, arguments: tuple[object, ...], words: str
) -> None:
    result = call("build", source, "--out", tmp_path / "out", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_drop_needs_labels(tmp_path: Path) -> None:
    source = model_directory(tmp_path / "model")
    arrays = samples()
    del arrays["labels"]
    np.savez(source / "samples.npz", **arrays)
    build = (source / "build.toml").read_text().replace('[task]\nmetric = "accuracy"\n', "")
    (source / "build.toml").write_text(build)
    result = call("build", source, "--out", tmp_path / "out", "--max-drop", 1)
    assert result.exit_code == 2
    assert "needs labels" in result.stderr
