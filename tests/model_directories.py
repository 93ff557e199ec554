"""Tiny model directories, as a user would hand them in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from click.testing import Result
from safetensors.torch import save_file
from torch import nn

from models.digits import model as digits
from ssm2edge.loading import Samples, Signature, load_arrays, samples_of

LENGTH, HELD_OUT, CLASSES = 24, 16, 3

BUILD = """
[model]
factory = "model.py:make"
arguments = { channels = 4, states = 6, layers = 2 }
weights = "weights.safetensors"

[samples]
file = "samples.npz"
time_axis = 1

[task]
metric = "accuracy"

[build]
order = 6
calibrate = "none"
"""


def tiny_model(seed: int = 0) -> nn.Module:
    """What the directory's factory and weights make."""
    torch.manual_seed(seed)
    return digits.make(channels=4, states=6, layers=2).eval()


def samples() -> dict[str, Any]:
    """Calibration and held-out sequences, labelled with random answers."""
    generator = np.random.default_rng(0)
    return {
        "calibration.pixels": generator.standard_normal((5, LENGTH, 1)).astype(np.float32),
        "held_out.pixels": generator.standard_normal((HELD_OUT, LENGTH, 1)).astype(np.float32),
        "labels": generator.integers(0, CLASSES, HELD_OUT),
    }


def load_samples(
    path: Path, takes: Signature, time_axis: int, metrics: Mapping[str, str] | None = None, static: Sequence[str] = ()
) -> Samples:
    """Read a samples file and check it."""
    return samples_of(load_arrays(path), path, takes, time_axis, metrics, static)


def model_directory(place: Path, build: str = BUILD) -> Path:
    """A whole directory: build.toml, the digits model's code, weights and samples."""
    place.mkdir()
    (place / "build.toml").write_text(build, encoding="utf-8")
    source = Path(digits.__file__).read_text(encoding="utf-8")
    (place / "model.py").write_text(source, encoding="utf-8")
    save_file(tiny_model().state_dict(), place / "weights.safetensors")
    np.savez(place / "samples.npz", **samples())
    return place


@dataclass(frozen=True, eq=False)
class Built:
    """A model directory, the artifact built of it, and what the command said; to be read, and copied to be changed."""

    place: Path
    result: Result

    @property
    def source(self) -> Path:
        return self.place / "model"

    @property
    def out(self) -> Path:
        return self.place / "deep" / "out"
