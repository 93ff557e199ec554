"""The loader of the Large Movie Review Dataset, on a tiny folder of the published layout."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ssm2edge.loading import Signature, load_model, open_source
from tests.model_directories import load_samples

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPT, MODEL = ROOT / "scripts" / "train_imdb.py", ROOT / "models" / "imdb"


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
def test_script_trains_a_model_on_the_folder_and_writes_samples_of_it(folder: Path, tmp_path: Path) -> None:
    sizes = ("--channels", 4, "--layers", 1, "--states", 4)
    output, state = tmp_path / "imdb", tmp_path / "state"
    done = run(folder, "--output", output, "--state", state, "--steps", 2, "--symbols", 64, "--device", "cpu", *sizes)
    assert done.returncode == 0, done.stderr
    assert "test accuracy" in done.stdout
    shutil.copyfile(MODEL / "model.py", output / "model.py")
    build = (MODEL / "build.toml").read_text(encoding="utf-8")
    sizes_line = "arguments = { channels = 4, states = 4, layers = 1 }"
    (output / "build.toml").write_text(re.sub("arguments = .*", sizes_line, build), encoding="utf-8")
    source = open_source(str(output))
    load_model(source)
    samples = load_samples(source.samples, Signature(("text", "mask")), 1, source.metrics)
    reviews = {
        text("test", name, number).encode("utf-8"): label for label, name in enumerate(("neg", "pos")) for number in range(3)
    }
    held_out = zip(samples.held_out["text"], samples.held_out["mask"], samples.labels[""], strict=True)
    found = {bytes(row[mask > 0].astype(np.uint8)): int(label) for row, mask, label in held_out}
    assert found == reviews
    # Calibration comes from the other part, and has no labels.
    assert {bytes(row.astype(np.uint8))[:5] for row in samples.calibration["text"]} == {b"train"}


@pytest.mark.slow
def test_folder_of_another_layout_is_refused_by_name(folder: Path, tmp_path: Path) -> None:
    done = run(folder / "train", "--output", tmp_path / "imdb")
    assert done.returncode == 1
    assert "holds no review" in done.stderr
    assert str(folder / "train" / "train" / "neg") in done.stderr
