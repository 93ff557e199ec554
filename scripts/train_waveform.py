"""Train models/spoken_waveform on the Free Spoken Digit Dataset and write its weights and samples.

The recordings, the held-out part and the clips are those of `train_spoken.py`; the model hears their 8,000 samples a second as
they are, without a front end.  Interrupted runs go on from their last epoch.

    python scripts/train_waveform.py RECORDINGS [--epochs 7] [--seed 0]
    python scripts/train_waveform.py RECORDINGS --prepare-only
    python scripts/train_waveform.py RECORDINGS --without theo --output DIR
"""

from __future__ import annotations

import functools
from pathlib import Path

import click
import numpy as np
import torch
from model_modules import load_model_module
from numpy.typing import NDArray
from torch import Tensor
from train_spoken import CALIBRATION, Recording, clip, note_speaker, read, split
from training import Recipe, modal_kernel, save_samples, train_classifier

VERSIONS, HELD_OUT_VERSIONS = 3, 4
LENGTH = 6400
"""Samples of a clip, 0.8 s."""
MODEL_DIRECTORY = Path(__file__).resolve().parent.parent / "models" / "spoken_waveform"


def clips_of(
    recordings: list[Recording], versions: int, seed: int, varied: bool
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return sounds ``(versions * count, time, 1)``, and the digits."""
    generator = np.random.default_rng(seed)
    clips = [clip(r.signal, generator, varied)[:LENGTH] for _ in range(versions) for r in recordings]
    return np.stack(clips)[..., None], np.array([r.digit for r in recordings] * versions, np.int64)


def shifted(sound: Tensor, generator: torch.Generator) -> Tensor:
    """Move each sound by up to a tenth of a second, turn half of them upside down, and change the level (augmentation)."""
    count, length, _ = sound.shape
    starts = torch.randint(-800, 801, (count, 1), generator=generator)
    moved = torch.take_along_dim(sound, ((torch.arange(length) + starts) % length).unsqueeze(-1), 1)
    signs = 2.0 * torch.randint(0, 2, (count, 1, 1), generator=generator) - 1
    return moved * signs * torch.exp(0.3 * torch.randn(count, 1, 1, generator=generator))


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--without", help="Hold out this person, and record the accuracy alone.")
@click.option("--prepare-only", is_flag=True, help="Write samples.npz, and train nothing.")
@click.option("--epochs", default=7, show_default=True, help="Of three versions of each recording.")
@click.option("--batch", default=32, show_default=True)
@click.option("--learning-rate", default=4e-3, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), default=MODEL_DIRECTORY, show_default=False)
def main(
    folder: Path, without: str | None, prepare_only: bool, epochs: int, batch: int, learning_rate: float, seed: int, output: Path
) -> None:
    """Train, print the held-out accuracy after each epoch, write weights.safetensors and samples.npz."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    training, held_out = split(read(folder), without)
    train_x, train_y = clips_of(training, VERSIONS, 1, varied=True)
    test_x, test_y = clips_of(held_out, HELD_OUT_VERSIONS, 2, varied=False)
    output.mkdir(parents=True, exist_ok=True)
    if without is None:
        chosen = np.random.default_rng(0).permutation(len(train_x))[:CALIBRATION]
        save_samples(output, "sound", train_x[chosen].astype(np.float16), test_x.astype(np.float16), test_y)
    if prepare_only:
        return
    model = load_model_module(MODEL_DIRECTORY).make(dropout=0.1)
    for block in (model.bank, *model.layers):
        kernel = block.layer.kernel
        kernel.forward = functools.partial(modal_kernel, kernel.modes)
    reached = train_classifier(
        model,
        (torch.from_numpy(train_x), torch.from_numpy(train_y)),
        (torch.from_numpy(test_x), torch.from_numpy(test_y)),
        Recipe(epochs, batch, learning_rate, seed),
        output,
        shifted,
    )
    if without is not None:
        note_speaker(MODEL_DIRECTORY, without, {"accuracy": reached, "epochs": epochs, "seed": seed})


if __name__ == "__main__":
    main()
