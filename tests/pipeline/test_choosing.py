"""A size is chosen on samples that judge nothing else, and what it promises there must hold on the others."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from ssm2edge.errors import UserError
from ssm2edge.loading import open_source
from ssm2edge.options import Options
from ssm2edge.orders.selection import confidence_down
from ssm2edge.original.task import Task
from ssm2edge.stages.choosing import halves
from ssm2edge.stages.load import load
from ssm2edge.stages.resolve import resolve
from ssm2edge.verification.paired import fewest_samples
from tests.command_line import call
from tests.model_directories import BUILD, HELD_OUT, LENGTH, model_directory, samples, tiny_model

pytestmark = pytest.mark.usefixtures("brief_latencies")


def answers(pixels: np.ndarray) -> np.ndarray:
    """The classes that the original gives."""
    with torch.no_grad():
        found: np.ndarray = tiny_model()(torch.from_numpy(pixels)).argmax(1).numpy()
    return found


def signals(count: int, size: float = 1.0) -> np.ndarray:
    """Noise; silence of size zero."""
    found: np.ndarray = size * np.random.default_rng(count).standard_normal((count, LENGTH, 1)).astype(np.float32)
    return found


def directory(place: Path, validation: np.ndarray | None = None, held_out: np.ndarray | None = None) -> Path:
    """The tiny model; the original is right on every held-out sample and on every one that chooses."""
    source = model_directory(place, BUILD.partition("[build]")[0] + '[build]\ncalibrate = "none"\nmethod = "balanced"\n')
    arrays = samples()
    pixels = signals(HELD_OUT) if held_out is None else held_out
    arrays |= {"held_out.pixels": pixels, "labels": answers(pixels)}
    if validation is not None:
        arrays |= {"validation.pixels": validation, "validation_labels": answers(validation)}
    np.savez(source / "samples.npz", **arrays)
    return source


def task_of(source: Path) -> Task:
    return load(open_source(str(source)))


@pytest.mark.parametrize("size", [{"max_drop": 1.0}, {"max_error": 0.1}])
def test_one_half_chooses_and_the_other_judges(tmp_path: Path, size: dict[str, float]) -> None:
    task = task_of(directory(tmp_path / "model"))
    resolved = resolve(task, Options(**size))[0].samples
    chosen, judged = (part["pixels"] for part in (resolved.validation, resolved.held_out))
    assert len(chosen) == len(judged) == HELD_OUT // 2
    every = {row.tobytes() for row in task.samples.held_out["pixels"]}
    assert {row.tobytes() for row in (*chosen, *judged)} == every
    for pixels, labels in ((chosen, resolved.validation_labels), (judged, resolved.labels)):
        assert np.array_equal(labels["output"], answers(pixels))
    again = resolve(task, Options(**size, seed=1))[0].samples
    assert not np.array_equal(again.held_out["pixels"], judged)
    for others in ({"order": 3}, {"keep": 0.5}, {"max_error": 0.1, "max_error_of": "bound"}):
        assert resolve(task, Options(**others))[0].samples is task.samples


def test_halves_differ_by_one_at_most_and_share_nothing() -> None:
    for count in (6, 7, 1001):
        choosing, judging = halves(count, 3)
        assert 0 <= len(judging) - len(choosing) <= 1
        assert sorted((*choosing, *judging)) == list(range(count))


def test_a_validation_part_leaves_all_held_out_samples_to_judge(tmp_path: Path) -> None:
    validation = signals(9)
    task = task_of(directory(tmp_path / "model", validation))
    resolved = resolve(task, Options(max_drop=1.0))[0].samples
    assert resolved is task.samples
    assert len(resolved.validation["pixels"]) == 9
    unlabelled = dataclasses.replace(task, samples=dataclasses.replace(task.samples, validation_labels={}))
    with pytest.raises(UserError, match="validation_labels"):
        resolve(unlabelled, Options(max_drop=1.0))
    few = dataclasses.replace(task.samples, validation={}, validation_labels={}, held_out={"pixels": validation[:5]})
    with pytest.raises(UserError, match="at least 6"):
        resolve(dataclasses.replace(task, samples=few), Options(max_drop=1.0))


def test_too_few_samples_are_refused_with_the_number_that_would_do(tmp_path: Path) -> None:
    source = directory(tmp_path / "model")
    result = call("build", source, "--out", tmp_path / "out", "--max-drop", 2, "--confidence", 0.9)
    assert result.exit_code == 2
    needed = fewest_samples(2.0, confidence_down(0.9))
    assert needed is not None
    (said,) = re.findall(r"at least ([\d,]+) validation samples, or ([\d,]+) held-out", result.stderr)
    assert said == (f"{needed:,}", f"{2 * needed:,}")
    none = call("build", source, "--out", tmp_path / "out", "--max-drop", 0)
    assert none.exit_code == 2
    assert "by no number of samples" in none.stderr
    for confidence in (0.2, 1.0):
        refused = call("build", source, "--out", tmp_path / "out", "--max-drop", 2, "--confidence", confidence)
        assert (refused.exit_code, "confidence" in refused.stderr) == (2, True)


@pytest.mark.slow
def test_what_chose_and_what_it_showed_is_recorded_and_said(tmp_path: Path) -> None:
    source = directory(tmp_path / "model", signals(600), signals(400))
    result = call("build", source, "--out", tmp_path / "out", "--max-drop", 4)
    assert result.exit_code == 0, result.output
    assert "Chosen on 600 other samples" in result.stdout
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    chosen = manifest["selection"]
    assert chosen["loss"] <= chosen["bound"] <= 4
    assert chosen["states"] < chosen["of"] == 2 * 4 * 6
    assert manifest["options"]["confidence"] == 0.95
    # The original is right on all that judges.
    assert 100 * (1 - manifest["accuracy"]["artifact"]) <= 4
    assert manifest["accuracy"]["samples"] == 400
    assert call("verify", tmp_path / "out").exit_code == 0
    by_error = call("build", source, "--out", tmp_path / "error", "--max-error", 0.2, "--json")
    assert by_error.exit_code == 0, by_error.output
    told = json.loads(by_error.stdout)["manifest"]
    assert told["selection"]["kind"] == "error"
    assert told["selection"]["bound"] <= 20
    (check,) = (check for check in told["parity"]["checks"] if check["name"] == "offline.allowed_error")
    assert check["figure"] <= 0.2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "limit", "loudness", "said"),
    # Silence has one answer, whatever the model; its error is the largest, relative to that answer.
    [("--max-drop", "4", (0.0, 1.0), "accuracy"), ("--max-error", "0.03", (3.0, 0.0), "allowed_error")],
)
def test_a_promise_that_other_samples_refute_is_not_published(
    tmp_path: Path, size: str, limit: str, loudness: tuple[float, float], said: str
) -> None:
    source = directory(tmp_path / "model", signals(600, loudness[0]), signals(400, loudness[1]))
    result = call("build", source, "--out", tmp_path / "out", "--method", "modal", size, limit)
    assert result.exit_code == 1
    assert not (tmp_path / "out").exists()
    assert said in result.stderr
