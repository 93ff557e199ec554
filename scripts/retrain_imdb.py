"""Retrain models/imdb, or another of its kind, with labels after `match` has reduced it: all weights together, in a plain loop.

    python scripts/train_imdb.py aclImdb --prepare-only
    python scripts/retrain_imdb.py aclImdb --keep DIR [--model models/imdb_s5] [--order 4] [--steps 150]
    python scripts/imdb_table.py aclImdb --keep DIR --cells "match retrained 4" --out models/imdb/results/retrained.json

The reduced layers are those of `imdb_table.py --keep`, and the retrained weights go there.  Each step sees labels of training
reviews cut at random, and nothing else; the last weights are taken.  A checkpoint is kept beside them, and a later run goes on.
"""

from __future__ import annotations

import math
from pathlib import Path

import click
import numpy as np
import torch
from imdb_table import Accuracies
from long_training import LongRecipe, train
from safetensors.torch import save_file
from torch import Tensor, nn
from train_imdb import CALIBRATED_LENGTH, CALIBRATION, MODEL_DIRECTORY, draw, read_reviews, tensors

from ssm2edge.calibration import Matching
from ssm2edge.loading import open_source
from ssm2edge.pipeline import load

CUT, WARMUP = 2048, 20


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--model", default=MODEL_DIRECTORY, type=click.Path(exists=True, path_type=Path), show_default=False)
@click.option("--keep", type=click.Path(path_type=Path), required=True, help="Folder of reduced layers, as of imdb_table.py.")
@click.option("--order", default=4, show_default=True, help="States of 64.")
@click.option("--match-steps", default=60, show_default=True, help="Of match, where the layers are not kept yet.")
@click.option("--match-batch", default=16, show_default=True)
@click.option("--match-sequences", default=CALIBRATION, show_default=True)
@click.option("--match-length", default=CALIBRATED_LENGTH, show_default=True)
@click.option("--steps", default=150, show_default=True)
@click.option("--symbols", default=16384, show_default=True, help="Bytes of a batch.")
@click.option("--rate", default=3e-4, show_default=True)
@click.option("--dynamics-rate", default=1e-4, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--seconds", default=math.inf, help="A run ends after so many, with a checkpoint.")
def main(
    folder: Path, model: Path, keep: Path, order: int, match_steps: int, match_batch: int, match_sequences: int,
    match_length: int, steps: int, symbols: int, rate: float, dynamics_rate: float, seed: int, seconds: float,
) -> None:  # fmt: skip
    torch.set_num_threads(1)
    keep.mkdir(parents=True, exist_ok=True)
    matching = Matching(steps=match_steps, batch=match_batch)
    measure = Accuracies(load(open_source(str(model))), folder, 1000, matching, keep, (match_sequences, match_length))
    network = measure.replaced("match", order)
    reviews, labels = read_reviews(folder, "train")
    lengths, known = np.array([len(review) for review in reviews]), torch.from_numpy(labels)

    def loss_of(step: int) -> Tensor:
        generator = np.random.default_rng((seed, step))
        chosen = draw(lengths, CUT, symbols, generator)
        starts = [int(generator.integers(max(1, lengths[index] - CUT + 1))) for index in chosen]
        cut = [reviews[index][start : start + CUT] for index, start in zip(chosen, starts, strict=True)]
        return nn.functional.cross_entropy(network(*tensors(cut, "cpu")), known[chosen], label_smoothing=0.05)

    recipe = LongRecipe(steps, rate, dynamics_rate, warmup=WARMUP)
    figures = train(network, loss_of, lambda: {}, recipe, measure.retrained(order).with_suffix(""), True, seconds)
    if figures and figures["step"] < steps:
        return
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, measure.retrained(order))
    click.echo(f"wrote {measure.retrained(order)}")


if __name__ == "__main__":
    main()
