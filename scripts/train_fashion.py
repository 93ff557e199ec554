"""Train models/fashion on Fashion-MNIST, read row by row, and write its weights and samples.

Xiao, Rasul and Vollgraf, "Fashion-MNIST" (2017): 60,000 pictures of clothes to train on and 10,000 to test, in the Debian package
``dataset-fashion-mnist`` (MIT licence).  The accuracy printed is that on all 10,000; samples.npz holds the first 2,000 of them.
Interrupted runs go on from their last epoch.

    python scripts/train_fashion.py [--data /usr/share/datasets/fashion-mnist] [--epochs 16] [--seed 0]
"""

from __future__ import annotations

import functools
import gzip
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from model_modules import load_model_module
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor
from training import Recipe, save_samples, train_classifier

MODEL_DIRECTORY = Path(__file__).resolve().parent.parent / "models" / "fashion"
DATA = Path("/usr/share/datasets/fashion-mnist")
CALIBRATION, HELD_OUT = 500, 2000
LARGEST_REAL_PART = -1e-4
"""Of a pole in continuous time."""


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Array of a gzipped idx file of bytes.

    Raises
    ------
    SystemExit
        If the file is not there, or is no such file.
    """
    if not path.is_file():
        raise SystemExit(
            f"{path} does not exist; install the Debian package dataset-fashion-mnist, or name its folder with --data."
        )
    content = gzip.decompress(path.read_bytes())
    if content[:3] != b"\x00\x00\x08":
        raise SystemExit(f"{path} is no idx file of bytes.")
    shape = np.frombuffer(content, ">u4", content[3], 4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * content[3]).reshape(shape)


def read_part(folder: Path, part: str) -> tuple[NDArray[np.float16], NDArray[np.int64]]:
    """Pictures ``(count, 28, 28)`` in [0, 1], and their classes."""
    pictures = read_idx(folder / f"{part}-images-idx3-ubyte.gz").astype(np.float64) / 255
    return pictures.astype(np.float16), read_idx(folder / f"{part}-labels-idx1-ubyte.gz").astype(np.int64)


def augmented(rows: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror half of the pictures, and move each by up to one pixel sideways (augmentation of the training part)."""
    mirrored = torch.rand(len(rows), 1, 1, generator=generator) < 0.5
    rows = torch.where(mirrored, rows.flip(-1), rows)
    shift = int(torch.randint(-1, 2, (), generator=generator))
    return torch.roll(rows, shift, dims=-1)


def stable_poles(ssm: Any) -> Tensor:
    """Poles in continuous time, moved into the left half plane where training left it, as the authors of S5 do."""
    return torch.complex(ssm.Lambda.real.clamp(max=LARGEST_REAL_PART), ssm.Lambda.imag)


def layer_by_kernels(ssm: Any, signal: Tensor) -> Tensor:
    """What an S5 layer of stable poles computes, as a convolution with its kernels.

    Equal to its forward up to rounding, and many times faster to differentiate over short sequences: training uses it, nothing
    else does.

    Parameters
    ----------
    ssm
        The package's ``S5SSM``.
    signal
        ``(batch, time, width)``.
    """
    poles, inputs = ssm.discretize(stable_poles(ssm), torch.view_as_complex(ssm.B), torch.exp(ssm.log_step))
    length = signal.shape[1]
    powers = ssm.C * torch.exp(torch.log(poles) * torch.arange(length)[:, None]).unsqueeze(1)
    kernels = powers.real @ inputs.real - powers.imag @ inputs.imag
    spectrum = torch.einsum(
        "bfi,foi->bfo", torch.fft.rfft(signal, n=2 * length, dim=1), torch.fft.rfft(kernels, n=2 * length, dim=0)
    )
    outputs: Tensor = torch.fft.irfft(spectrum, n=2 * length, dim=1)[:, :length] + ssm.D * signal
    return outputs


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default=DATA, show_default=True)
@click.option("--epochs", default=16, show_default=True)
@click.option("--batch", default=100, show_default=True)
@click.option("--learning-rate", default=4e-3, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=MODEL_DIRECTORY, show_default=False)
def main(data: Path, epochs: int, batch: int, learning_rate: float, seed: int, output: Path) -> None:
    """Train, print the accuracy on the test part after each epoch, write weights.safetensors and samples.npz."""
    torch.manual_seed(seed)
    train_x, train_y = read_part(data, "train")
    test_x, test_y = read_part(data, "t10k")
    chosen = np.random.default_rng(0).permutation(len(train_x))[:CALIBRATION]
    output.mkdir(parents=True, exist_ok=True)
    save_samples(output, "rows", train_x[chosen], test_x[:HELD_OUT], test_y[:HELD_OUT])
    model = load_model_module(MODEL_DIRECTORY).make(dropout=0.1)
    for block in model.blocks:
        block.s5.forward = functools.partial(layer_by_kernels, block.s5.seq)
    train_classifier(
        model,
        (torch.from_numpy(train_x.astype(np.float32)), torch.from_numpy(train_y)),
        (torch.from_numpy(test_x.astype(np.float32)), torch.from_numpy(test_y)),
        Recipe(epochs, batch, learning_rate, seed),
        output,
        augmented,
    )
    with torch.no_grad():
        for block in model.blocks:
            block.s5.seq.Lambda.copy_(stable_poles(block.s5.seq))
    save_file(model.state_dict(), output / "weights.safetensors")


if __name__ == "__main__":
    main()
