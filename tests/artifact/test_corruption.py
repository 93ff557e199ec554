"""Damaged copies of every file, hash or no hash: one sentence and an exit code, never a traceback, a hang or a crash."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.model_directories import model_directory

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_damaged_copies_of_every_file_are_met_with_one_sentence(tmp_path: Path) -> None:
    source = model_directory(tmp_path / "model")
    # Seven ways to damage a file, each with the hash that tells and with one that agrees.
    command = [sys.executable, str(ROOT / "scripts/try_corruption.py"), str(source), "--copies", "14"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in done.stdout.splitlines()[2:]]
    assert {row[0] for row in rows} == {
        "manifest.json", "offline.onnx", "stream.onnx", "reference.npz", "probes.npz", "responses.npz", "report.json",
        "report.html",        "cache: outputs", "cache: reductions", "cache: calibration",
    }  # fmt: skip
    assert all(row[-1] == "0" for row in rows)
