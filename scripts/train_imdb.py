"""Train models/imdb, or another model of its kind, on the Large Movie Review Dataset: bytes, up to 4,096 of them.

The setting is that of Long Range Arena; the models are imdb (S4D), imdb_s5 and imdb_quadratic.

Maas et al., "Learning Word Vectors for Sentiment Analysis" (2011).  The data are in no package and are not shipped: give the
folder ``aclImdb`` of the published archive, with ``train`` and ``test`` in it, ``pos`` and ``neg`` in each, one text file per
review.  Batches hold reviews of like lengths.  Training begins with short cuts of the reviews and ends with long ones; beside
the label, what a logistic regression on the training part's words sees in each word (`word_polarity.py`) is a target that fades
out.  A checkpoint is kept in ``--state`` every few minutes, and a later run goes on from it.

    python scripts/train_imdb.py aclImdb --state DIR [--steps 20000] [--device cuda] [--model models/imdb_s5]
    python scripts/train_imdb.py aclImdb --prepare-only      # samples.npz for the shipped weights
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from fast_convolution import bidirectional_forward
from fast_scan import quadratic_forward, s5_forward
from long_training import LongRecipe, train
from model_modules import load_model_module
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from word_polarity import polarities

MODEL_DIRECTORY = Path(__file__).resolve().parent.parent / "models" / "imdb"
LENGTH = 4096
CLASSES = ("neg", "pos")
CALIBRATION, HELD_OUT = 256, 1000
CALIBRATED_LENGTH = 1024
STAGES = ((0.0, 512), (0.55, 1024), (0.85, 2048))
"""From which share of the steps on reviews are cut to how many bytes."""

FAST: dict[str, Callable[[nn.Module], Callable[..., Any]]] = {
    "FFTConv": bidirectional_forward,
    "S5": lambda layer: functools.partial(s5_forward, layer),
    "LRU": lambda layer: functools.partial(quadratic_forward, layer),
}
"""Forward of each layer in training, by the name of its class."""

Batch = tuple[Tensor, Tensor]
"""Bytes and mask, ``(reviews, time)`` each."""


def read_reviews(folder: Path, part: str, length: int = LENGTH) -> tuple[list[bytes], NDArray[np.int64]]:
    """Return the first bytes of each review, and whether it is positive.

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
    reviews, labels = [], []
    for label, name in enumerate(CLASSES):
        place = folder / part / name
        files = sorted(place.glob("*.txt"))
        if not files:
            raise SystemExit(f"{place} holds no review (*.txt); name the folder aclImdb of the published archive.")
        reviews += [file.read_bytes()[:length] for file in files]
        labels += [label] * len(files)
    return reviews, np.array(labels, np.int64)


def batch_of(reviews: Sequence[bytes], length: int | None = None) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return bytes padded with zeros to a length, and the mask of those that are the reviews'.

    Without a length it is the longest review's, rounded up to one that has fast Fourier transforms.
    """
    longest = length or -(-max(map(len, reviews)) // 64) * 64
    symbols, mask = np.zeros((len(reviews), longest), np.uint8), np.zeros((len(reviews), longest), np.float32)
    for row, review in enumerate(reviews):
        symbols[row, : len(review)] = np.frombuffer(review, np.uint8)
        mask[row, : len(review)] = 1
    return symbols, mask


def tensors(reviews: Sequence[bytes], device: str) -> Batch:
    """Return a batch where the model is."""
    symbols, mask = batch_of(reviews)
    return torch.from_numpy(symbols.astype(np.int64)).to(device), torch.from_numpy(mask).to(device)


def accuracy(model: nn.Module, reviews: Sequence[bytes], labels: NDArray[np.int64], device: str, symbols: int = 65536) -> float:
    """Return the share of right answers."""
    return float(right_answers(model, reviews, labels, device, symbols).mean())


def right_answers(
    model: Callable[[Tensor, Tensor], Tensor],
    reviews: Sequence[bytes],
    labels: NDArray[np.int64],
    device: str,
    symbols: int = 65536,
) -> NDArray[np.bool_]:
    """Return whether each answer is right; reviews of like lengths are answered together."""
    order, right, start = np.argsort([len(review) for review in reviews], kind="stable"), np.zeros(len(reviews), bool), 0
    with torch.no_grad():
        while start < len(order):
            # As many as fit, by the length of the longest among them.
            count = max(1, symbols // len(reviews[order[min(len(order) - 1, start + symbols // len(reviews[order[start]]))]]))
            chosen = order[start : start + count]
            answers = model(*tensors([reviews[index] for index in chosen], device)).argmax(-1).cpu().numpy()
            right[chosen], start = answers == labels[chosen], start + count
    return right


def calibration_reviews(training: Sequence[bytes], count: int, generator: np.random.Generator | None = None) -> list[bytes]:
    """Return reviews to calibrate on, the same ones first for every count."""
    drawn = (generator or np.random.default_rng(0)).permutation(len(training))[:count]
    return [training[index] for index in drawn]


def save_samples(directory: Path, training: Sequence[bytes], test: Sequence[bytes], labels: NDArray[np.int64]) -> None:
    """Write samples.npz: unlabelled training reviews, and test reviews with their classes, both drawn once for all."""
    generator = np.random.default_rng(0)
    calibration = calibration_reviews(training, CALIBRATION, generator)
    chosen = generator.permutation(len(test))[:HELD_OUT]
    parts: dict[str, Any] = {"labels": labels[chosen]}
    cut = [review[:CALIBRATED_LENGTH] for review in calibration]
    # Of one length, as a build asks for it: the mask leaves out what a review does not fill.
    for name, reviews in (("calibration", cut), ("held_out", [test[i] for i in chosen])):
        parts[f"{name}.text"], parts[f"{name}.mask"] = batch_of(reviews, LENGTH)
    np.savez_compressed(directory / "samples.npz", **parts)


def draw(lengths: NDArray[np.int64], cut: int, symbols: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Return reviews of like lengths, as many as hold so many bytes when cut; the shorter ones, more to a batch, come oftener."""
    pool = generator.choice(len(lengths), 512, replace=len(lengths) < 512)
    ordered = pool[np.argsort(np.minimum(lengths[pool], cut) + generator.random(len(pool)), kind="stable")]
    middle = int(generator.integers(len(ordered)))
    count = max(2, symbols // int(min(lengths[ordered[middle]], cut)))
    start = min(max(0, middle - count // 2), max(0, len(ordered) - count))
    chosen: NDArray[np.int64] = ordered[start : start + count]
    return chosen


def parted(count: int, held_back: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the reviews to train on, in their own order, and so many that are held back, drawn once for all."""
    back = np.random.default_rng(1).permutation(count)[:held_back]
    return np.setdiff1d(np.arange(count), back), back


def kept_targets(state: Path, reviews: Sequence[bytes], labels: NDArray[np.int64]) -> list[NDArray[np.float16]]:
    """Return the polarity at each byte of each review; found once, and then read from the folder."""
    file = state / "targets.npy"
    if not file.exists():
        state.mkdir(parents=True, exist_ok=True)
        unfinished = state / "targets.part.npy"
        np.save(unfinished, np.concatenate(polarities(reviews, labels)))
        unfinished.replace(file)
    values, ends = np.load(file), np.cumsum([len(review) for review in reviews])
    return np.split(values, ends[:-1])


def polarity_error(found: Tensor, mask: Tensor, targets: Sequence[NDArray[np.float16]]) -> Tensor:
    """Return the mean squared error of the polarities at the bytes of a batch, padding left out."""
    wanted = np.zeros(mask.shape, np.float32)
    for row, values in enumerate(targets):
        wanted[row, : len(values)] = values
    error: Tensor = ((found - torch.from_numpy(wanted).to(found)).square() * mask).sum() / mask.sum()
    return error


def faded(step: int, steps: int) -> float:
    """Return the weight at a step of a target that teaches at first and counts little in the end."""
    return max(0.05, 1 - step / (0.8 * steps))


def cut_at(step: int, steps: int) -> int:
    """Return to how many bytes reviews are cut at a step."""
    return next(cut for since, cut in reversed(STAGES) if step >= since * steps)


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--state", type=click.Path(path_type=Path), default=Path("imdb-training"), show_default=True)
@click.option("--resume/--fresh", default=True, show_default=True, help="Go on from the checkpoint in --state.")
@click.option("--prepare-only", is_flag=True, help="Write samples.npz, and train nothing.")
@click.option("--steps", default=20000, show_default=True)
@click.option("--symbols", default=8192, show_default=True, help="Bytes of a batch.")
@click.option("--rate", default=4e-3, show_default=True)
@click.option("--dynamics-rate", default=1e-3, show_default=True)
@click.option("--dropout", default=0.1, show_default=True)
@click.option("--channels", type=int, help="As the model's factory has them, unless given; and so on.")
@click.option("--layers", type=int)
@click.option("--states", type=int)
@click.option("--device", default="cuda" if torch.cuda.is_available() else "cpu", show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--minutes", default=5.0, show_default=True, help="Between checkpoints.")
@click.option("--seconds", default=math.inf, help="A run ends after so many, with a checkpoint.")
@click.option("--judged", default=1000, show_default=True, help="Test reviews of the reports.")
@click.option("--held-back", default=0, help="Training reviews that are not trained on, and judge the reports in place of those.")
@click.option("--final", default=25000, show_default=True, help="Test reviews of the last figure, drawn once for all.")
@click.option("--model", "directory", type=click.Path(exists=True, path_type=Path), default=MODEL_DIRECTORY, show_default=False)
@click.option(
    "--output", type=click.Path(path_type=Path), help="Where weights and samples go; the model's own folder unless given."
)
def main(
    folder: Path, state: Path, resume: bool, prepare_only: bool, steps: int, symbols: int, rate: float, dynamics_rate: float,
    dropout: float, device: str, seed: int, minutes: float, seconds: float, judged: int, held_back: int, final: int,
    directory: Path, output: Path | None, **sizes: int | None,
) -> None:  # fmt: skip
    """Train, print the test accuracy now and then, write weights.safetensors and samples.npz."""
    output = output or directory
    reviews, labels = read_reviews(folder, "train")
    test, classes = read_reviews(folder, "test")
    output.mkdir(parents=True, exist_ok=True)
    if prepare_only:
        save_samples(output, reviews, test, classes)
        return
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    model = load_model_module(directory).make(dropout=dropout, **{name: size for name, size in sizes.items() if size is not None})
    for block in model.layers:
        block.layer.forward = FAST[type(block.layer).__name__](block.layer)
    teacher = nn.Linear(model.embedding.embedding_dim, 1)
    both = nn.ModuleDict({"model": model, "teacher": teacher}).to(device)
    targets = kept_targets(state, reviews, labels)
    taught, back = parted(len(reviews), held_back)
    lengths = np.array([len(reviews[index]) for index in taught])
    known = torch.from_numpy(labels)

    def loss_of(step: int) -> Tensor:
        generator = np.random.default_rng((seed, step))
        cut = cut_at(step, steps)
        chosen = taught[draw(lengths, cut, symbols, generator)]
        starts = [int(generator.integers(max(1, len(reviews[index]) - cut + 1))) for index in chosen]
        parts = [(index, slice(start, start + cut)) for index, start in zip(chosen, starts, strict=True)]
        text, mask = tensors([reviews[index][part] for index, part in parts], device)
        features, kept = model.features(text, mask), mask.unsqueeze(-1)
        logits = model.decoder((features * kept).sum(1) / kept.sum(1))
        loss = nn.functional.cross_entropy(logits, known[chosen].to(device), label_smoothing=0.05)
        seen = polarity_error(teacher(features).squeeze(-1), mask, [targets[index][part] for index, part in parts])
        return loss + faded(step, steps) * seen

    some = np.random.default_rng(0).permutation(len(test))[:judged]

    def judge() -> dict[str, float]:
        if held_back:
            return {"held back": accuracy(model, [reviews[index] for index in back], labels[back], device)}
        return {"accuracy": accuracy(model, [test[index] for index in some], classes[some], device)}

    recipe = LongRecipe(steps, rate, dynamics_rate, minutes=minutes)
    figures = train(both, loss_of, judge, recipe, state, resume, seconds)
    if figures and figures["step"] < steps:
        return
    save_file({name: value.cpu().contiguous() for name, value in model.state_dict().items()}, output / "weights.safetensors")
    save_samples(output, reviews, test, classes)
    some = np.random.default_rng(0).permutation(len(test))[:final]
    click.echo(f"wrote {output / 'weights.safetensors'}; answering {len(some)} test reviews")
    reached = accuracy(model, [test[index] for index in some], classes[some], device)
    record = output / "results" / "training.json"
    record.parent.mkdir(exist_ok=True)
    reported = {"steps": steps, "seed": seed, "reviews": len(some), "accuracy": reached}
    record.write_text(json.dumps(reported, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    click.echo(f"test accuracy {reached:.4f}")


if __name__ == "__main__":
    main()
