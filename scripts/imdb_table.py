"""Accuracy of models/imdb, or another of its kind, on test reviews at a share of its states, by every method.

Nothing is retrained and no label is used, but by ``match retrained`` (`retrain_imdb.py`).

    python scripts/train_imdb.py aclImdb --prepare-only
    python scripts/imdb_table.py aclImdb [--reviews 25000] [--ways match,...] [--orders 8,...] [--keep DIR --seconds 150]
    python scripts/imdb_table.py aclImdb --cells "match 12,match 4,last 12"
    python scripts/imdb_table.py aclImdb --model models/imdb_s5 --reviews 2000

Reviews of like lengths are answered together, each whole up to 4,096 bytes, in parts of a thousand that are drawn once for all;
a figure is of the parts that every figure has.  ``match`` calibrates on unlabelled training reviews cut to 1,024 bytes (the first
256 of them are those of samples.npz), ``match without data`` on what a build draws where no samples are at hand.  With
``--keep``, reduced layers and answers are kept, so that an interrupted run goes on, and several runs share the work
(``--backwards`` begins with the last part).  No part begins after ``--seconds``.  Figures go to results/accuracies.json of the
model.
"""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from fast_reviews import SYMBOLS, FastClassifier, check_alike
from numpy.typing import NDArray
from reproduce_tables import digest
from safetensors.torch import load_file
from train_imdb import (
    CALIBRATED_LENGTH,
    CALIBRATION,
    LENGTH,
    MODEL_DIRECTORY,
    batch_of,
    calibration_reviews,
    read_reviews,
    right_answers,
)

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
AFTER = RESULTS.with_name("retrained.json")
"""After retraining with labels."""
DRAWN = "without-data.json"
"""Beside the other accuracies of a model: those of ``match without data``, with settings of their own."""
OTHERS = ("imdb_s5", "imdb_quadratic")
"""Other models of the same task."""
ORIGINAL = "original"
REDUCTIONS = ("balanced", "last", "aire", "gradient")
WITHOUT_DATA = " without data"
RETRAINED = " retrained"
CALIBRATED = ("spectrum", "match", "match" + WITHOUT_DATA, "match" + RETRAINED)
ORDERS = (26, 20, 12, 8, 6, 4, 2)
"""Of 64 states: 59, 69, 81, 88, 91, 94 and 97 % are removed."""
AT_ONCE = 1000
"""Reviews of a part."""
QUANTILE, MANY = 1.96, 10_000

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


Size = tuple[int, int]
"""Reviews to calibrate on, and bytes of each, at most."""


class Accuracies:
    """Answers of the model at any order; what they share is made once."""

    def __init__(self, task: Task, folder: Path, reviews: int, matching: Matching, keep: Path, size: Size) -> None:
        assert task.source.weights is not None
        self._task, self._matching, self._keep, self._size = task, matching, keep, size
        self._digest, self._folder = digest(task.source.weights)[:16], folder
        keep_to(keep / f"{self._digest}-settings.json", settings_of(matching, size))
        test, labels = read_reviews(folder, "test")
        chosen = np.random.default_rng(0).permutation(len(test))[:reviews]
        self._reviews, self._labels = [test[index] for index in chosen], labels[chosen]
        self.parts = range(-(-len(chosen) // AT_ONCE))
        self._networks: dict[str, tuple[FastClassifier, int]] = {}

    def answer(self, cell: str, part: int) -> None:
        """Answer the reviews of a part, and keep which answers are right, unless they are kept already."""
        kept = self._file(cell, part)
        if kept.exists():
            return
        span = slice(part * AT_ONCE, (part + 1) * AT_ONCE)
        fast, _ = self._network(cell)
        right = right_answers(fast, self._reviews[span], self._labels[span], "cpu", SYMBOLS)
        unfinished = kept.with_suffix(f".{os.getpid()}.npy")
        np.save(unfinished, right)
        unfinished.replace(kept)

    def answered(self, cell: str) -> set[int]:
        """Return the parts that have been answered."""
        return {part for part in self.parts if self._file(cell, part).exists()}

    def figures(self, cell: str, parts: Sequence[int]) -> dict[str, float]:
        """Return accuracy and parameters of the model with so many states in each channel and direction.

        Also return the standard error of its difference from the original's accuracy: most answers are the same.
        """
        right, original = (
            np.concatenate([np.load(self._file(name, part)) for part in parts]).astype(float) for name in (cell, ORIGINAL)
        )
        error = (right - original).std() / len(right) ** 0.5
        return {"accuracy": right.mean(), "standard_error": error, "parameters": self._network(cell)[1]}

    def replaced(self, way: str, order: int) -> Any:
        """Return the model with its layers reduced in a way."""
        return self._task.replaced(self._systems(way, order))

    @property
    def original(self) -> Any:
        """The model as it was trained."""
        return self._task.model

    def retrained(self, order: int) -> Path:
        """Return the file of the weights that `retrain_imdb.py` leaves in the folder of what is kept."""
        return self._keep / f"{self._digest}-retrained-{order}.safetensors"

    def _file(self, cell: str, part: int) -> Path:
        return self._keep / f"{self._digest}-{cell.replace(' ', '-')}-part{part}.npy"

    def _network(self, cell: str) -> tuple[FastClassifier, int]:
        """Return a network that answers fast, and its parameters."""
        if cell not in self._networks:
            way, _, order = cell.rpartition(" ")
            network = self._task.model if cell == ORIGINAL else self.replaced(way.removesuffix(RETRAINED), int(order))
            if way.endswith(RETRAINED):
                network.load_state_dict(load_file(self.retrained(int(order))))
            fast = FastClassifier(network)
            check_alike(fast, network, self._reviews[:4])
            self._networks[cell] = fast, count_parameters(network)
        return self._networks[cell]

    def _systems(self, way: str, order: int) -> dict[str, System]:
        """Return the layers; what takes minutes is kept, so that an interrupted run goes on from it."""
        kept = self._keep / f"{self._digest}-{way}-{order}.pt"
        if kept.exists():
            return {name: System(**fields) for name, fields in torch.load(kept, weights_only=True).items()}
        made = self._made(way, order)
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
            return calibrate_spectrum(teacher, task.model, task.systems, self._systems("gradient", order), signals, careful=drawn)
        network = task.replaced(self._systems("spectrum" + WITHOUT_DATA * drawn, order))
        # As builds do.
        match(teacher, network, signals, "accuracy", dataclasses.replace(self._matching, careful=drawn))
        return {name: block.system() for name, block in blocks(network).items()}

    def _signals(self, drawn: bool) -> Mapping[str, NDArray[Any]]:
        sequences, length = self._size
        reviews = calibration_reviews(read_reviews(self._folder, "train", length)[0], sequences)
        text, mask = batch_of(reviews, length)
        samples: dict[str, NDArray[Any]] = {"text": text.astype(np.int64), "mask": mask}
        if not drawn:
            return samples
        known = known_of_samples(dataclasses.replace(self._task.samples, calibration=samples))["text"]
        drawn_text = draw({"text": known}, len(text), self._matching.seed)["text"][:, : text.shape[1]]
        return {"text": drawn_text.astype(np.int64), "mask": np.ones_like(mask)}


def settings_of(matching: Matching, size: Size) -> dict[str, int]:
    """Return the settings of calibration."""
    return {"steps": matching.steps, "batch": matching.batch, "sequences": size[0], "length": size[1]}


def keep_to(file: Path, settings: dict[str, int]) -> None:
    """Note the settings of what a folder keeps.

    Raises
    ------
    SystemExit
        If it keeps what others made.
    """
    if not file.exists():
        write(file, settings)
    elif (kept := json.loads(file.read_text(encoding="utf-8"))) != settings:
        made, asked = (", ".join(f"--{name} {some[name]}" for name in settings) for some in (kept, settings))
        raise SystemExit(f"{file.parent} keeps what {made} made; ask for these, or name another folder for {asked}.")


def write(out: Path, figures: dict[str, Any]) -> None:
    """Keep the figures; a reader never sees half a file."""
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_suffix(".part")
    unfinished.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    unfinished.replace(out)


def all_figures(results: Path) -> dict[str, Any]:
    """Return the figures of a model from all files of its results, which are of the same weights and the same reviews.

    Raises
    ------
    SystemExit
        If they are not.
    """
    figures: dict[str, Any] = json.loads((results / RESULTS.name).read_text(encoding="utf-8"))
    for name in (DRAWN, AFTER.name):
        if (results / name).exists():
            more = json.loads((results / name).read_text(encoding="utf-8"))
            if any(more[key] != figures[key] for key in ("weights", "reviews", "original")):
                raise SystemExit(f"{results / name} is of other weights or other reviews than {RESULTS.name}; make it again.")
            figures["cells"] |= more["cells"]
    return figures


def markdown(figures: dict[str, Any], others: bool = True) -> str:
    """Return the table, with the published figures of others beside it unless they are not wanted."""
    orders = sorted({int(key.rpartition(" ")[2]) for key in figures["cells"]}, reverse=True)
    said = (
        f"Accuracy of the original on the same {figures['reviews']:,} test reviews: {figures['original']:.4f}. In brackets: "
        "points lost, and half of the 95 % interval of this paired difference."
    )
    sizes = {order: cell["parameters"] for order in orders for key, cell in figures["cells"].items() if key.endswith(f" {order}")}
    counted = "; ".join(f"{size:,} at {order} states" for order, size in sizes.items())
    said += f" All trainable parameters: {figures['parameters']:,}; {counted}."
    if not orders:
        return said + "\n"
    lines = ["| way | " + " | ".join(f"{order} of 64 states ({100 - 100 * order / 64:.0f} % removed)" for order in orders) + " |"]
    lines.append("|" + "---|" * (len(orders) + 1))
    for way in (*REDUCTIONS, *CALIBRATED):
        cells = [figures["cells"].get(f"{way} {order}") for order in orders]
        if any(cells):
            lines.append(f"| `{way}` | " + " | ".join(_points(cell, figures) for cell in cells) + " |")
    return "\n".join([*lines, "", said, *(["", *_published()] if others else [])]) + "\n"


def _points(cell: dict[str, float] | None, figures: dict[str, Any]) -> str:
    """Return accuracy, and points lost with half of the interval of this difference; of many reviews to a hundredth."""
    if cell is None:
        return ""
    digits = 2 if figures["reviews"] >= MANY else 1
    error = f" ± {100 * QUANTILE * cell['standard_error']:.{digits}f}" if "standard_error" in cell else ""
    return f"{cell['accuracy']:.4f} ({100 * (figures['original'] - cell['accuracy']):.{digits}f}{error})"


def _published() -> list[str]:
    lines = ["| theirs, on models of their own | removed | accuracy |", "|---|---|---|"]
    return lines + [f"| {who} | {removed} | {value} |" for who, removed, value in PUBLISHED]


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--model", default=MODEL_DIRECTORY, type=click.Path(exists=True, path_type=Path), show_default=False)
@click.option("--reviews", default=25000, show_default=True, help="Test reviews, drawn once for all.")
@click.option("--ways", default=",".join((*REDUCTIONS, *CALIBRATED)), show_default=True)
@click.option("--orders", default=",".join(map(str, ORDERS)), show_default=True)
@click.option("--cells", help="Ways and orders, as 'match 4,last 12', in place of all ways at all orders.")
@click.option("--steps", default=Matching.steps, show_default=True, help="Of match.")
@click.option("--batch", default=Matching.batch, show_default=True, help="Reviews of a step of match.")
@click.option("--sequences", default=CALIBRATION, show_default=True, help="Reviews to calibrate on.")
@click.option("--length", default=CALIBRATED_LENGTH, show_default=True, help="Bytes of each of them.")
@click.option("--keep", type=click.Path(path_type=Path), help="Folder that keeps reduced layers and answers for later runs.")
@click.option("--seconds", default=float("inf"), help="Begin no part later than this.")
@click.option("--backwards", is_flag=True, help="Begin with the last part.")
@click.option("--least", default=1, show_default=True, help="Parts that a figure needs; those with fewer are left out.")
@click.option("--out", type=click.Path(path_type=Path), help="In place of results/accuracies.json of the model.")
def main(
    folder: Path, model: Path, reviews: int, ways: str, orders: str, cells: str | None, steps: int, batch: int,
    sequences: int, length: int, keep: Path | None, seconds: float, backwards: bool, least: int, out: Path | None,
) -> None:  # fmt: skip
    begun = time.monotonic()
    torch.set_num_threads(1)
    task = load(open_source(str(model)))
    assert task.source.weights is not None
    wanted = cells.split(",") if cells else [f"{way} {order}" for order in orders.split(",") for way in ways.split(",")]
    with tempfile.TemporaryDirectory() as temporary:
        folder_of_answers = keep or Path(temporary)
        folder_of_answers.mkdir(parents=True, exist_ok=True)
        measure = Accuracies(task, folder, reviews, Matching(steps=steps, batch=batch), folder_of_answers, (sequences, length))
        for part in reversed(measure.parts) if backwards else measure.parts:
            for cell in (ORIGINAL, *wanted):
                if time.monotonic() - begun <= seconds:
                    measure.answer(cell, part)
        answered = {cell: parts for cell in (ORIGINAL, *wanted) if len(parts := measure.answered(cell)) >= least}
        common = sorted(set(measure.parts).intersection(*answered.values()))
        if ORIGINAL not in answered or not common:
            click.echo("No part has been answered by all models yet.")
            return
        known = {cell: measure.figures(cell, common) for cell in answered}
    original = known.pop(ORIGINAL)
    counts = [min(AT_ONCE, reviews - part * AT_ONCE) for part in common]
    written = {
        "weights": digest(task.source.weights), "reviews": sum(counts),
        "original": original["accuracy"], "parameters": original["parameters"], "cells": known,
        "matching": settings_of(Matching(steps=steps, batch=batch), (sequences, length)),
    }  # fmt: skip
    write(out or model / "results" / RESULTS.name, written)
    click.echo(markdown(written))


if __name__ == "__main__":
    main()
