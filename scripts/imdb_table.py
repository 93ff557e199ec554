"""Accuracy of models/imdb on test reviews at a share of its states, by every method, without retraining and without labels.

    python scripts/train_imdb.py aclImdb --prepare-only
    python scripts/imdb_table.py aclImdb [--reviews 25000] [--ways match,...] [--orders 8,...] [--seconds 150]

Reviews of like lengths are answered together, each whole up to 4,096 bytes; fewer than all 25,000 are drawn once for all.
``match`` calibrates on unlabelled training reviews cut to 1,024 bytes, ``match without data`` on what a build draws where no
samples are at hand.  Figures go to models/imdb/results/accuracies.json as they come; no figure begins after
``--seconds``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from fast_reviews import SYMBOLS, FastClassifier, check_alike
from numpy.typing import NDArray
from reproduce_tables import digest
from torch import nn
from train_imdb import LENGTH, MODEL_DIRECTORY, read_reviews, right_answers

from ssm2edge.calibration import Matching, calibrate_spectrum, signals_of
from ssm2edge.calibration.matching import match
from ssm2edge.calibration.teacher import Teacher
from ssm2edge.layers import blocks
from ssm2edge.loading import open_source
from ssm2edge.loading.synthetic import known_of_samples
from ssm2edge.original.recording import count_parameters
from ssm2edge.original.task import Task
from ssm2edge.pipeline import load
from ssm2edge.reduction.layerwise import reduce_layers
from ssm2edge.signals.draw import draw
from ssm2edge.systems.system import System

RESULTS = MODEL_DIRECTORY / "results" / "accuracies.json"
MORE = RESULTS.with_name("accuracies-4000.json")
"""Of the most important cells on four times as many reviews."""
REDUCTIONS = ("balanced", "last", "aire", "gradient")
WITHOUT_DATA = " without data"
CALIBRATED = ("spectrum", "match", "match" + WITHOUT_DATA)
ORDERS = (12, 8, 4, 2)
"""Of 64 states: 81 %, 7/8, 15/16 and 31/32 are removed."""
AT_ONCE = 1000
"""Reviews after which answers are kept."""

PUBLISHED = (
    ("balanced truncation, S5 (Schwerdtner et al., arXiv 2510.22951)", "60, 70, 80, 90 %", "71.5, 71.0, 51.3, 50.0"),
    ("LAST, S5 (the same)", "60, 70, 80, 90 %", "88.5, 85.1, 80.3, 57.1"),
    ("balanced truncation, trained with a Hankel regulariser (the same)", "60, 70, 80, 90 %", "87.3, 87.2, 87.0, 86.4"),
    ("LAST, S5 in two directions", "60 %", "88.52, of 88.88"),
    ("AIRE, S5 in two directions", "80 %", "88.24, of 88.88"),
    ("Sakamoto and Sato (arXiv 2510.14542, first version)", "80 % of the parameters", "a drop of 4 to 5 %"),
    ("Sakamoto and Sato, retrained", "", "86.60"),
)
"""Figures of others: who, how much was removed, accuracy."""


class Accuracies:
    """Accuracies of the model at any order; what they share is made once."""

    def __init__(self, task: Task, folder: Path, reviews: int, matching: Matching, keep: Path | None) -> None:
        assert task.source.weights is not None
        self._task, self._matching, self._keep, self._digest = task, matching, keep, digest(task.source.weights)
        test, labels = read_reviews(folder, "test")
        chosen = np.random.default_rng(0).permutation(len(test))[:reviews]
        self._reviews, self._labels = [test[index] for index in chosen], labels[chosen]

    def original(self) -> NDArray[np.bool_]:
        """Right answers of the unreduced model."""
        return self._right(self._task.model, "original")

    def reduced(self, way: str, order: int, original: NDArray[np.bool_]) -> dict[str, float]:
        """Accuracy and parameters of the model with so many states in each channel and direction.

        Also return the standard error of its difference from the original's accuracy: most answers are the same.
        """
        network = self._task.replaced(self._systems(way, order))
        right = self._right(network, f"{way}-{order}")
        error = (right.astype(float) - original).std() / len(right) ** 0.5
        return {"accuracy": float(right.mean()), "standard_error": float(error), "parameters": count_parameters(network)}

    def _right(self, network: nn.Module, name: str) -> NDArray[np.bool_]:
        """Return the right answers, a thousand reviews at a time; these are kept, too."""
        fast = FastClassifier(network)
        check_alike(fast, network, self._reviews[:4])
        kept = self._keep / f"{self._digest[:16]}-{name}-{len(self._reviews)}.npy" if self._keep is not None else None
        parts = [np.load(kept)] if kept is not None and kept.exists() else []
        for start in range(sum(map(len, parts)), len(self._reviews), AT_ONCE):
            span = slice(start, start + AT_ONCE)
            parts.append(right_answers(fast, self._reviews[span], self._labels[span], "cpu", SYMBOLS))
            if kept is not None:
                kept.parent.mkdir(parents=True, exist_ok=True)
                unfinished = kept.with_suffix(".part.npy")
                np.save(unfinished, np.concatenate(parts))
                unfinished.replace(kept)
        return np.concatenate(parts)

    def _systems(self, way: str, order: int) -> dict[str, System]:
        """Return the layers; what takes minutes is kept, so that an interrupted run goes on from it."""
        kept = self._keep / f"{self._digest[:16]}-{way}-{order}.pt" if self._keep is not None else None
        if kept is not None and kept.exists():
            return {name: System(**fields) for name, fields in torch.load(kept, weights_only=True).items()}
        made = self._made(way, order)
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            torch.save({name: dict(vars(system)) for name, system in made.items()}, kept)
        return made

    def _made(self, way: str, order: int) -> dict[str, System]:
        task, orders = self._task, dict.fromkeys(self._task.systems, order)
        if way in REDUCTIONS:
            reductions = reduce_layers(task.systems, orders, way, LENGTH)
            return {name: reduction.system for name, reduction in reductions.items()}
        # Without samples the spectra are those of the drawn ones, too.
        drawn = way.endswith(WITHOUT_DATA)
        samples = self._signals(drawn)
        signals = signals_of(samples, task.samples.axes, samples["text"].shape[1], task.systems, orders)
        teacher = Teacher(task.model, task.systems)
        if way.startswith("spectrum"):
            return calibrate_spectrum(teacher, task.model, task.systems, self._systems("gradient", order), signals)
        network = task.replaced(self._systems("spectrum" + WITHOUT_DATA * drawn, order))
        match(teacher, network, signals, "accuracy", self._matching)
        return {name: block.system() for name, block in blocks(network).items()}

    def _signals(self, drawn: bool) -> Mapping[str, NDArray[Any]]:
        samples = self._task.samples.calibration
        if not drawn:
            return samples
        known = known_of_samples(self._task.samples)["text"]
        text = draw({"text": known}, len(samples["text"]), self._matching.seed)["text"][:, : samples["text"].shape[1]]
        return {"text": text.astype(samples["text"].dtype), "mask": np.ones_like(samples["mask"])}


def write(out: Path, figures: dict[str, Any]) -> None:
    """Keep the figures; a reader never sees half a file."""
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_suffix(".part")
    unfinished.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    unfinished.replace(out)


def markdown(figures: dict[str, Any], others: bool = True) -> str:
    """Return the table, with the published figures of others beside it unless they are not wanted."""
    orders = sorted({int(key.rpartition(" ")[2]) for key in figures["cells"]}, reverse=True)
    said = (
        f"Accuracy of the original on the same {figures['reviews']:,} test reviews: {figures['original']:.4f}. In brackets: "
        "points lost, and the standard error of this difference."
    )
    if not orders:
        return said + "\n"
    lines = ["| way | " + " | ".join(f"{order} of 64 states ({100 - 100 * order / 64:.0f} % removed)" for order in orders) + " |"]
    lines.append("|" + "---|" * (len(orders) + 1))
    for way in (*REDUCTIONS, *CALIBRATED):
        cells = [figures["cells"].get(f"{way} {order}") for order in orders]
        if any(cells):
            lines.append(f"| `{way}` | " + " | ".join(_points(cell, figures["original"]) for cell in cells) + " |")
    return "\n".join([*lines, "", said, *(["", *_published()] if others else [])]) + "\n"


def _points(cell: dict[str, float] | None, original: float) -> str:
    """Return accuracy, and points lost with the standard error of this difference."""
    if cell is None:
        return ""
    error = f" ± {100 * cell['standard_error']:.1f}" if "standard_error" in cell else ""
    return f"{cell['accuracy']:.4f} ({100 * (original - cell['accuracy']):.1f}{error})"


def _published() -> list[str]:
    lines = ["| theirs, on models of their own | removed | accuracy |", "|---|---|---|"]
    return lines + [f"| {who} | {removed} | {value} |" for who, removed, value in PUBLISHED]


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--model", default=MODEL_DIRECTORY, type=click.Path(exists=True, path_type=Path), show_default=False)
@click.option("--reviews", default=25000, show_default=True, help="Test reviews, drawn once for all.")
@click.option("--ways", default=",".join((*REDUCTIONS, *CALIBRATED)), show_default=True)
@click.option("--orders", default=",".join(map(str, ORDERS)), show_default=True)
@click.option("--steps", default=Matching.steps, show_default=True, help="Of match.")
@click.option("--batch", default=Matching.batch, show_default=True, help="Reviews of a step of match.")
@click.option("--keep", type=click.Path(path_type=Path), help="Folder that keeps reduced layers for interrupted runs.")
@click.option("--seconds", default=float("inf"), help="Begin no figure later than this.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS, show_default=False)
def main(
    folder: Path, model: Path, reviews: int, ways: str, orders: str, steps: int, batch: int, keep: Path | None,
    seconds: float, out: Path,
) -> None:  # fmt: skip
    begun = time.monotonic()
    torch.set_num_threads(1)
    task = load(open_source(str(model)))
    assert task.source.weights is not None
    measure = Accuracies(task, folder, reviews, Matching(steps=steps, batch=batch), keep)
    known: dict[str, Any] = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
    weights = digest(task.source.weights)
    if known.get("weights") != weights or known.get("reviews") != reviews or "right" not in known:
        right = measure.original()
        known = {"weights": weights, "reviews": reviews, "original": float(right.mean()), "cells": {}}
        known["right"] = np.packbits(right).tobytes().hex()
        known["parameters"] = count_parameters(task.model)
        write(out, known)
    original = np.unpackbits(np.frombuffer(bytes.fromhex(known["right"]), np.uint8))[:reviews].astype(bool)
    known["matching"] = {"steps": steps, "batch": batch, "sequences": len(task.samples.calibration["text"])}
    click.echo(f"original: {known['original']:.4f}")
    for order in map(int, orders.split(",")):
        for way in ways.split(","):
            if f"{way} {order}" in known["cells"] or time.monotonic() - begun > seconds:
                continue
            start = time.monotonic()
            cell = measure.reduced(way, order, original)
            known["cells"][f"{way} {order}"] = cell
            write(out, known)
            click.echo(f"{way}, {order} states: {cell['accuracy']:.4f}  ({time.monotonic() - start:.0f} s)")
    click.echo(markdown(known))


if __name__ == "__main__":
    main()
