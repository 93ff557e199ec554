"""Sweeps of a real model in real processes: the bytes of single builds, and a sweep that goes on after a kill."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import ssm2edge
from ssm2edge.artifact.sweep import read_sweep
from ssm2edge.sweeps.result import Sweep
from tests.model_directories import model_directory

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("brief_latencies")]
GRID = ("--orders", "3,2", "--methods", "balanced,last", "--jobs", "2")
MADE = ("offline.onnx", "stream.onnx", "reference.npz", "probes.npz", "responses.npz")
"""Files without figures of this machine."""


def records(out: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in out.glob("cells/model/*.json")}


def test_a_killed_sweep_goes_on_and_gives_the_bytes_of_single_builds(tmp_path: Path) -> None:
    source, out = model_directory(tmp_path / "model"), tmp_path / "sweep"
    command = [sys.executable, "-m", "ssm2edge.cli", "sweep", str(source), "--out", str(out), *GRID]
    first = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    limit = time.monotonic() + 300
    while not records(out) and first.poll() is None and time.monotonic() < limit:
        time.sleep(0.05)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    before = records(out)
    assert 0 < len(before) < 4
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{len(before)} of 4 cells are there already." in done.stderr
    after = records(out)
    assert {name: after[name] for name in before} == before
    assert len(after) == 4
    # Nothing unfinished is left.
    assert not list(out.glob("cells/model/.*.staging-*"))
    assert not list(out.glob("cells/model/.*.running"))
    found = Sweep.open(out)
    assert [cell.status for cell in found.cells] == ["done"] * 4
    assert all(cell.peak_bytes is None or cell.peak_bytes > 50 << 20 for cell in found.cells)
    with (out / "sweep.csv").open() as table:
        assert [row["order"] for row in csv.DictReader(table)] == ["3", "2", "3", "2"]
    cell = next(cell for cell in found.cells if cell.options["order"] == 2 and cell.options["method"] == "balanced")
    single = ssm2edge.build(source, out=tmp_path / "single", order=2, method="balanced")
    for name in MADE:
        assert (out / cell.directory / name).read_bytes() == (single.directory / name).read_bytes(), name


def test_a_cell_that_cannot_be_built_is_shown_and_the_exit_code_says_so(tmp_path: Path) -> None:
    source, out = model_directory(tmp_path / "model"), tmp_path / "sweep"
    command = [sys.executable, "-m", "ssm2edge.cli", "sweep", str(source), "--out", str(out), "--orders", "2,99", "--jobs", "1"]
    done = subprocess.run([*command, "--method", "balanced"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "1 done, 1 failed" in done.stdout
    (failed,) = Sweep(out, read_sweep(out)).failures
    assert failed.options["order"] == 99
    assert str(failed.error) in done.stdout
