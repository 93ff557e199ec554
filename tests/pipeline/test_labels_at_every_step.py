"""Models that score classes at every step are judged by labels at every step."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from ssm2edge.artifact import Reference
from ssm2edge.runtime import Model
from ssm2edge.verification import Subject
from ssm2edge.verification.accuracy import accuracy, measure
from tests.command_line import call
from tests.model_directories import BUILD, HELD_OUT, LENGTH, model_directory, samples, tiny_model

pytestmark = pytest.mark.usefixtures("brief_latencies")

TAGGER = """


class Tagger(DigitClassifier):
    def forward(self, pixels):
        z = self.encoder(pixels)
        for norm, layer in zip(self.norms, self.layers):
            z = z + layer(norm(z).mT)[0].mT
        return self.decoder(self.norm(z))


def tagger(channels, states, layers):
    return Tagger(channels, states, layers)
"""


def scores(pixels: np.ndarray | None = None) -> np.ndarray:
    """The original's on the held-out samples or on others, from the definition of the model."""
    model = tiny_model()
    pixels = samples()["held_out.pixels"] if pixels is None else pixels
    with torch.no_grad():
        z = model.encoder(torch.from_numpy(pixels))  # type: ignore[operator]  # the digits model
        for norm, layer in zip(model.norms, model.layers, strict=True):  # type: ignore[arg-type]  # as above
            z = z + layer(norm(z).mT)[0].mT
        return np.asarray(model.decoder(model.norm(z)))  # type: ignore[operator]  # as above


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = model_directory(tmp_path / "model", BUILD.replace(":make", ":tagger").replace("order = 6", ""))
    with (directory / "model.py").open("a") as code:
        code.write(TAGGER)
    labels = scores().argmax(-1)
    labels[:, ::5] = (labels[:, ::5] + 1) % 10
    np.savez(directory / "samples.npz", **(samples() | {"labels": labels}))
    return directory


@pytest.mark.slow
@pytest.mark.parametrize("size", [("--order", "1"), ("--max-drop", "10")])
def test_accuracy_counts_every_step(directory: Path, tmp_path: Path, size: tuple[str, str]) -> None:
    if size[0] == "--max-drop":
        # Others choose, so that all of these judge.
        pixels = np.random.default_rng(3).standard_normal((80, LENGTH, 1)).astype(np.float32)
        with np.load(directory / "samples.npz") as given:
            arrays = dict(given)
        arrays |= {"validation.pixels": pixels, "validation_labels": scores(pixels).argmax(-1)}
        np.savez(directory / "samples.npz", **arrays)
    result = call("build", directory, "--out", tmp_path / "out", "--json", *size)
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)["manifest"]["accuracy"]
    with np.load(directory / "samples.npz") as given:
        labels, pixels = given["labels"], given["held_out.pixels"]
    with Model(tmp_path / "out") as model:
        found = model.run(pixels)["output"]
    assert told["samples"] == HELD_OUT
    assert told["original"] == pytest.approx(np.mean(scores().argmax(-1) == labels))
    assert told["original"] == pytest.approx(1 - np.ceil(LENGTH / 5) / LENGTH)
    assert told["artifact"] == pytest.approx(np.mean(found.argmax(-1) == labels), abs=2 / labels.size)
    if size[0] == "--max-drop":
        assert told["original"] - told["artifact"] <= 0.1
    verified = call("verify", tmp_path / "out", "--json")
    assert verified.exit_code == 0
    assert f"on {labels.size} labels of {HELD_OUT} samples" in verified.stdout


def test_labels_of_another_shape_are_refused(directory: Path, tmp_path: Path) -> None:
    np.savez(directory / "samples.npz", **(samples() | {"labels": np.zeros((HELD_OUT, LENGTH - 1), np.int64)}))
    result = call("build", directory, "--out", tmp_path / "out", "--order", "1")
    assert result.exit_code == 2
    assert (
        f"labels are classes of shape ({LENGTH - 1},) a sample, but the model's output of shape ({LENGTH}, 10)" in result.stderr
    )


def interval(before: np.ndarray, after: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """What the check tells of score arrays."""
    pack = Reference({"u": np.zeros((len(labels), 2, 1), np.float32)}, {"output": before}, {"output": after}, {"output": labels})
    subject = Subject(Path("offline.onnx"), None, pack)
    subject.__dict__["outputs"] = {"output": after}
    measured = measure(subject, "output")
    assert measured is not None
    low, high = re.findall(r"interval (-?[\d.]+) to (-?[\d.]+)", accuracy(subject, "output", measured).detail)[0]
    return float(low), float(high)


def test_intervals_are_those_of_paired_answers_and_repeated_steps_do_not_narrow_them() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 200)
    before, after = (generator.standard_normal((200, 3)) + 2 * np.eye(3)[labels] for _ in range(2))
    b = int(np.sum((before.argmax(1) == labels) & (after.argmax(1) != labels)))
    c = int(np.sum((before.argmax(1) != labels) & (after.argmax(1) == labels)))
    margin = 1.96 * np.sqrt((b + c) - (b - c) ** 2 / 200) / 200
    expected = [100 * ((b - c) / 200 + sign * margin) for sign in (-1, 1)]
    assert interval(before, after, labels) == pytest.approx(expected, abs=0.006)
    # Seven copies of each answer are no more evidence than one.
    repeated = [np.repeat(x[:, None], 7, 1) for x in (before, after, labels)]
    assert interval(*repeated) == pytest.approx(expected, abs=0.006)
