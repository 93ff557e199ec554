"""Sequence outputs with true outputs as labels are judged by their normalised error."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from ssm2edge.artifact import Reference
from ssm2edge.verification import Limits, Subject, examine
from tests.first_order import build, reference


def pack_with_truth(scale: float) -> Reference:
    """The original's outputs miss the truth by known noise; the artifact's are ``1 / scale`` times the original's."""
    pack = reference(False)
    answers = pack.reduced["output"]
    truth = answers + 0.1 * np.random.default_rng(3).standard_normal(answers.shape).astype(np.float32)
    return Reference(pack.inputs, {"output": scale * answers}, pack.reduced, {"output": truth})


def test_errors_are_those_of_the_labels(tmp_path: Path) -> None:
    pack = pack_with_truth(1.1)
    truth = np.asarray(pack.labels["output"], np.float64)
    errors = [np.sqrt(np.square(pack_of["output"] - truth).mean()) / truth.std() for pack_of in (pack.original, pack.reduced)]
    verdict = examine(Subject.staged(build(tmp_path / "build", mean=False), pack, {}))
    assert verdict.passed
    assert verdict.accuracy is not None
    assert (verdict.accuracy.original, verdict.accuracy.artifact) == pytest.approx(errors, rel=1e-4)
    (check,) = (check for check in verdict.checks if check.name == "nrmse")
    assert check.figure == pytest.approx(100 * (errors[1] - errors[0]), rel=1e-3)


def test_loss_of_fit_has_its_limit(tmp_path: Path) -> None:
    pack = pack_with_truth(1.0)
    # The original is taken to know the truth.
    perfect = dataclasses.replace(pack, original=pack.labels)
    directory = build(tmp_path / "build", mean=False)
    rise = examine(Subject.staged(directory, perfect, {})).accuracy
    assert rise is not None
    points = 100 * rise.artifact
    assert examine(Subject.staged(directory, perfect, {}, Limits(drop=points + 0.01))).passed
    (failure,) = examine(Subject.staged(directory, perfect, {}, Limits(drop=points - 0.01))).failures
    assert failure.name == "nrmse"


def test_other_errors_than_the_manifest_tells_fail(tmp_path: Path) -> None:
    pack = pack_with_truth(1.0)
    directory = build(tmp_path / "build", mean=False)
    measured = examine(Subject.staged(directory, pack, {})).accuracy
    assert measured is not None
    told = dataclasses.replace(measured, artifact=1.01 * measured.artifact)
    for recorded, names in ((measured, set()), (told, {"nrmse"})):
        subject = Subject(directory / "offline.onnx", directory / "stream.onnx", pack, {}, {"output": recorded})
        assert {check.name for check in examine(subject).failures} == names


def test_labels_that_are_no_outputs_are_not_judged(tmp_path: Path) -> None:
    pack = pack_with_truth(1.0)
    other = dataclasses.replace(pack, labels={"output": pack.labels["output"][..., :1]})
    assert examine(Subject.staged(build(tmp_path / "build", mean=False), other, {})).accuracy is None
