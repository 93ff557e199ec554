"""Retrain models/imdb, or another of its kind, with labels after `match` has reduced it: all weights together, in a plain loop.

    python scripts/train_imdb.py aclImdb --prepare-only
    python scripts/retrain_imdb.py aclImdb --keep DIR [--model models/imdb_s5] [--order 4] [--steps 150]
    python scripts/imdb_table.py aclImdb --keep DIR --cells "match retrained 4" --out models/imdb/results/retrained.json

The reduced layers are those of `imdb_table.py --keep`, and the retrained weights go there.  Each step sees labels of training
reviews cut at random; the last weights are taken.  Where many states went, labels alone teach slowly: with ``--features`` the
original's features at each byte are a target beside them, and with ``--as-trained`` what `train_imdb.py` used in the first place,
the polarities of words and short cuts at first; both fade out.  A checkpoint is kept beside the weights, and a later run goes on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from imdb_table import Accuracies
from long_training import LongRecipe, train
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from train_imdb import (
    CALIBRATED_LENGTH,
    CALIBRATION,
    FAST,
    MODEL_DIRECTORY,
    Batch,
    cut_at,
    draw,
    faded,
    kept_targets,
    polarity_error,
    read_reviews,
    tensors,
)

from ssm2edge.calibration import Matching
from ssm2edge.loading import open_source
from ssm2edge.pipeline import load

CUT, WARMUP = 2048, 20


def loss(
    network: Any, original: Any, batch: Batch, labels: Tensor, weight: float, other: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """Return the cross-entropy, and so many times the relative error of the features: of their power about each one's mean.

    Another function of the features is added to it.
    """
    kept = batch[1].unsqueeze(-1)
    features = network.features(*batch)
    logits = network.decoder((features * kept).sum(1) / kept.sum(1))
    total: Tensor = nn.functional.cross_entropy(logits, labels, label_smoothing=0.05)
    if other is not None:
        total = total + other(features)
    if not weight:
        return total
    with torch.no_grad():
        wanted = original.features(*batch)
        mean = (wanted * kept).sum((0, 1)) / kept.sum()
        power = ((wanted - mean).square() * kept).sum()
    total = total + weight * ((features - wanted).square() * kept).sum() / power
    return total


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--model", default=MODEL_DIRECTORY, type=click.Path(exists=True, path_type=Path), show_default=False)
@click.option("--keep", type=click.Path(path_type=Path), required=True, help="Folder of reduced layers, as of imdb_table.py.")
@click.option("--order", default=4, show_default=True, help="States of 64.")
@click.option("--match-steps", default=60, show_default=True, help="Of match, where the layers are not kept yet.")
@click.option("--match-batch", default=16, show_default=True)
@click.option("--match-sequences", default=CALIBRATION, show_default=True)
@click.option("--match-length", default=CALIBRATED_LENGTH, show_default=True)
@click.option("--start", type=click.Path(exists=True, path_type=Path), help="Weights of an earlier run, in place of match's.")
@click.option("--steps", default=150, show_default=True)
@click.option("--features", "weight", default=0.0, show_default=True, help="Weight of the original's features as a target.")
@click.option("--as-trained", is_flag=True, help="With the polarities and the cuts of train_imdb.py.")
@click.option("--symbols", default=16384, show_default=True, help="Bytes of a batch.")
@click.option("--rate", default=3e-4, show_default=True)
@click.option("--dynamics-rate", default=1e-4, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--seconds", default=math.inf, help="A run ends after so many, with a checkpoint.")
def main(
    folder: Path, model: Path, keep: Path, order: int, match_steps: int, match_batch: int, match_sequences: int,
    match_length: int, start: Path | None, steps: int, weight: float, as_trained: bool, symbols: int, rate: float,
    dynamics_rate: float, seed: int, seconds: float,
) -> None:  # fmt: skip
    torch.set_num_threads(1)
    keep.mkdir(parents=True, exist_ok=True)
    matching = Matching(steps=match_steps, batch=match_batch)
    measure = Accuracies(load(open_source(str(model))), folder, 1000, matching, keep, (match_sequences, match_length))
    network, original = measure.replaced("match", order), measure.original
    if start:
        network.load_state_dict(load_file(start))
    for block in original.layers:
        block.layer.forward = FAST[type(block.layer).__name__](block.layer)
    reviews, labels = read_reviews(folder, "train")
    lengths, known = np.array([len(review) for review in reviews]), torch.from_numpy(labels)
    torch.manual_seed(seed)
    trained = nn.ModuleDict({"network": network})
    if as_trained:
        trained["polarity"] = nn.Linear(network.embedding.embedding_dim, 1)
        targets = kept_targets(keep, reviews, labels)

    def loss_of(step: int) -> Tensor:
        generator = np.random.default_rng((seed, step))
        cut = cut_at(step, steps) if as_trained else CUT
        chosen = draw(lengths, cut, symbols, generator)
        starts = [int(generator.integers(max(1, lengths[index] - cut + 1))) for index in chosen]
        parts = [(index, slice(start, start + cut)) for index, start in zip(chosen, starts, strict=True)]
        batch, share = tensors([reviews[index][part] for index, part in parts], "cpu"), faded(step, steps)

        def polarity(features: Tensor) -> Tensor:
            found = trained["polarity"](features).squeeze(-1)
            return share * polarity_error(found, batch[1], [targets[index][part] for index, part in parts])

        return loss(network, original, batch, known[chosen], share * weight, polarity if as_trained else None)

    recipe = LongRecipe(steps, rate, dynamics_rate, warmup=WARMUP)
    figures = train(trained, loss_of, lambda: {}, recipe, measure.retrained(order).with_suffix(""), True, seconds)
    if figures and figures["step"] < steps:
        return
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, measure.retrained(order))
    click.echo(f"wrote {measure.retrained(order)}")


if __name__ == "__main__":
    main()
