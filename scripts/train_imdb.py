"""Train a bidirectional S4D on the Large Movie Review Dataset, in the setting of the founding paper: bytes, length 4,096.

Maas et al., "Learning Word Vectors for Sentiment Analysis" (2011).  The data are in no package and are not shipped: give the
folder ``aclImdb`` of the published archive, with ``train`` and ``test`` in it, ``pos`` and ``neg`` in each, one text file per
review.  The result is a model directory that ``ssm2edge build`` takes.  Meant for a GPU; interrupted runs go on.

    python scripts/train_imdb.py aclImdb --output imdb [--epochs 32] [--device cuda]
"""

from __future__ import annotations

import functools
import shutil
from pathlib import Path

import click
import numpy as np
import torch
from model_modules import load_model_module
from numpy.typing import NDArray
from training import Recipe, modal_kernel, save_samples, train_classifier

CODE = Path(__file__).resolve().parent.parent / "models" / "text" / "model.py"
LENGTH = 4096
CLASSES = ("neg", "pos")
CALIBRATION = 500
ARGUMENTS = {"channels": 128, "states": 64, "layers": 4}

BUILD = """[model]
factory = "model.py:make"
arguments = {{ {arguments} }}
weights = "weights.safetensors"

[samples]
file = "samples.npz"
time_axis = 1

[task]
metric = "accuracy"
"""


def read_reviews(folder: Path, part: str, length: int = LENGTH) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """First bytes ``(reviews, length)`` of each review, padded with zeros, and whether it is positive.

    Parameters
    ----------
    folder
        The published ``aclImdb``.
    part
        ``train`` or ``test``.
    length
        Bytes of a review that are read.

    Raises
    ------
    SystemExit
        If a folder is missing or holds no review.
    """
    files = []
    for label, name in enumerate(CLASSES):
        place = folder / part / name
        reviews = sorted(place.glob("*.txt"))
        if not reviews:
            raise SystemExit(f"{place} holds no review (*.txt); name the folder aclImdb of the published archive.")
        files += [(file, label) for file in reviews]
    symbols = np.zeros((len(files), length), np.uint8)
    for row, (file, _) in enumerate(files):
        raw = file.read_bytes()[:length]
        symbols[row, : len(raw)] = np.frombuffer(raw, np.uint8)
    return symbols, np.array([label for _, label in files], np.int64)


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Model directory to make.")
@click.option("--epochs", default=32, show_default=True)
@click.option("--batch", default=32, show_default=True)
@click.option("--length", default=LENGTH, show_default=True, help="Bytes of a review.")
@click.option("--learning-rate", default=4e-3, show_default=True)
@click.option("--channels", default=ARGUMENTS["channels"], show_default=True)
@click.option("--layers", default=ARGUMENTS["layers"], show_default=True)
@click.option("--states", default=ARGUMENTS["states"], show_default=True)
@click.option("--device", default="cuda" if torch.cuda.is_available() else "cpu", show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(
    folder: Path, output: Path, epochs: int, batch: int, length: int, learning_rate: float, device: str, seed: int, **sizes: int
) -> None:
    """Train, print the test accuracy after each epoch, write a whole model directory."""
    torch.manual_seed(seed)
    train_x, train_y = read_reviews(folder, "train", length)
    test_x, test_y = read_reviews(folder, "test", length)
    output.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(CODE, output / "model.py")
    arguments = ", ".join(f"{name} = {value}" for name, value in sizes.items())
    (output / "build.toml").write_text(BUILD.format(arguments=arguments), encoding="utf-8")
    chosen = np.random.default_rng(0).permutation(len(train_x))[:CALIBRATION]
    save_samples(output, "text", train_x[chosen], test_x, test_y)
    model = load_model_module(output).make(dropout=0.1, **sizes)
    for block in model.layers:
        kernel = block.layer.kernel
        kernel.forward = functools.partial(modal_kernel, kernel.modes)
    train_classifier(
        model,
        (torch.from_numpy(train_x).long(), torch.from_numpy(train_y)),
        (torch.from_numpy(test_x).long(), torch.from_numpy(test_y)),
        Recipe(epochs, batch, learning_rate, seed),
        output,
        device=device,
    )


if __name__ == "__main__":
    main()
