"""The artifact does not depend on the number of threads, nor on what else the machine does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from models.digits.model import make
from ssm2edge import compress
from tests.coloured_signals import coloured
from tests.model_directories import BUILD, model_directory
from tests.slow_cases import slow

COUNTS = (1, 2, 4)
GRAPHS = ("offline.onnx", "stream.onnx", "reference.npz", "probes.npz", "responses.npz")
WIDE = BUILD.replace("channels = 4", "channels = 64").replace("order = 6", "order = 3").replace('"none"', '"match"')
"""Enough channels for several pieces."""


@pytest.fixture
def threads() -> Iterator[None]:
    """Leave torch with as many threads as it had."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize(("method", "calibrate"), [slow("gradient", "none"), ("balanced", "match")])
def test_compressed_weights_are_the_same_bytes_at_any_number_of_threads(method: str, calibrate: str) -> None:
    torch.manual_seed(0)
    model, samples = make(channels=64, states=4, layers=1), coloured(12, 24)[..., None]
    found = []
    for count in COUNTS:
        torch.set_num_threads(count)
        smaller = compress(model, samples, order=2, method=method, calibrate=calibrate, calibration_steps=2)
        assert torch.get_num_threads() == count
        found.append(smaller.state_dict())
    for other in found[1:]:
        assert found[0].keys() == other.keys()
        for name, value in found[0].items():
            assert torch.equal(value, other[name]), name


@pytest.mark.slow
def test_published_graphs_are_the_same_bytes_at_any_number_of_threads(tmp_path: Path) -> None:
    source = model_directory(tmp_path / "model", WIDE)
    torch.manual_seed(0)
    save_file(make(channels=64, states=6, layers=2).state_dict(), source / "weights.safetensors")
    command = [sys.executable, "-m", "ssm2edge.cli", "build", str(source), "--calibration-steps", "3", "--out"]
    running = [
        subprocess.Popen([*command, str(tmp_path / str(count))], env=os.environ | {"OMP_NUM_THREADS": str(count)})
        for count in COUNTS
    ]
    # They run at the same time: each is the load of the others.
    assert [process.wait() for process in running] == [0] * len(COUNTS)
    for name in GRAPHS:
        first, *others = ((tmp_path / str(count) / name).read_bytes() for count in COUNTS)
        assert all(other == first for other in others), name
