"""The loader of the Large Movie Review Dataset, on a tiny folder of the published layout."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ssm2edge.loading import Signature, load_model, open_source
from tests.model_directories import load_samples

SCRIPT = Path(__file__).resolve().parent.parent.parent / "scripts" / "train_imdb.py"
LENGTH = 48


def text(part: str, name: str, number: int) -> str:
    return f"{part} {name} {number}: caf\u00e9 " + "x" * (20 * number)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for part in ("train", "test"):
        for name in ("neg", "pos", "unsup"):
            place = tmp_path / "aclImdb" / part / name
            place.mkdir(parents=True)
            for number in range(3):
                (place / f"{number}_{number + 1}.txt").write_text(text(part, name, number), encoding="utf-8")
    return tmp_path / "aclImdb"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_script_makes_a_model_directory_of_the_folder(folder: Path, tmp_path: Path) -> None:
    sizes = ("--channels", 4, "--layers", 1, "--states", 4, "--length", LENGTH)
    done = run(folder, "--output", tmp_path / "imdb", "--epochs", 1, "--batch", 2, "--device", "cpu", *sizes)
    assert done.returncode == 0, done.stderr
    assert "held-out accuracy" in done.stdout
    source = open_source(str(tmp_path / "imdb"))
    load_model(source)
    samples = load_samples(source.samples, Signature(("text",)), 1, source.metrics)
    assert samples.labels[""].tolist() == [0, 0, 0, 1, 1, 1]
    for row, (name, number) in enumerate([(name, number) for name in ("neg", "pos") for number in range(3)]):
        expected = text("test", name, number).encode("utf-8")[:LENGTH].ljust(LENGTH, b"\0")
        assert bytes(samples.held_out["text"][row].astype(np.uint8)) == expected
    # Calibration comes from the other part, and has no labels.
    assert {bytes(row.astype(np.uint8))[:5] for row in samples.calibration["text"]} == {b"train"}


@pytest.mark.slow
def test_folder_of_another_layout_is_refused_by_name(folder: Path, tmp_path: Path) -> None:
    done = run(folder / "train", "--output", tmp_path / "imdb")
    assert done.returncode == 1
    assert "holds no review" in done.stderr
    assert str(folder / "train" / "train" / "neg") in done.stderr
