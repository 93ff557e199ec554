"""Modes of 100 that each layer of models/f16 can lose for less than 1 % of the mean fit, by every method.

    python scripts/f16_table.py FOLDER [--ways balanced,...,match] [--seconds 150]
    python scripts/f16_table.py FOLDER --weights FILE --out models/f16/results/fits-hankel.json

The task of the table of Forgione, Mejari and Piga (2024): every layer is reduced to the same number of modes, and the fit is that
on the whole of FullMSine_Level6_Validation.  The fewest modes are found by bisection, so that every size that was tried is in the
figures.  ``match`` sees sub-sequences of the training recordings' forces, ``match without data`` what a build draws where no
samples are at hand.  Figures go to models/f16/results/fits.json as they come; no figure begins after ``--seconds``.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from fast_scan import system_forward
from numpy.typing import NDArray
from reproduce_tables import digest
from train_f16 import MODEL_DIRECTORY, VALIDATION, fits, read

from ssm2edge.calibration import Matching, calibrate, signals_of
from ssm2edge.loading import open_source
from ssm2edge.loading.synthetic import known_of_samples
from ssm2edge.original.task import Task
from ssm2edge.pipeline import load
from ssm2edge.reduction.layerwise import reduce_layers
from ssm2edge.signals.draw import draw
from ssm2edge.signals.shape import Scale
from ssm2edge.systems.system import System

RESULTS = MODEL_DIRECTORY / "results" / "fits.json"
REDUCTIONS = ("balanced", "singular_perturbation", "modal", "modal_singular_perturbation", "gradient")
CALIBRATED = ("spectrum", "match", "match without data")
MODES, FEWEST = 100, 1
LOST = 0.01
"""Share of the mean fit that may be lost."""
PUBLISHED = {
    "no regulariser": {"balanced": 28, "singular_perturbation": 43, "modal": 3, "modal_singular_perturbation": 35},
    "modal": {"balanced": 56, "singular_perturbation": 73, "modal": 0, "modal_singular_perturbation": 91},
    "hankel": {"balanced": 89, "singular_perturbation": 91, "modal": 18, "modal_singular_perturbation": 76},
}
"""Modes that could go, from their table."""
FILES = {"no regulariser": "fits.json", "modal": "fits-modal.json", "hankel": "fits-hankel.json"}
"""Figures of models trained with each regulariser."""


class Fits:
    """Fits of the model at any size; what they share is made once."""

    def __init__(self, task: Task, folder: Path, matching: Matching, size: tuple[int, int]) -> None:
        self._task, self._matching = task, matching
        self._sequences, self._length = size
        self._force, self._measured = read(folder, VALIDATION)

    def original(self) -> list[float]:
        """Fits of the unreduced model, in percent."""
        return self._judge(self._task.systems)

    def reduced(self, way: str, modes: int) -> list[float]:
        """Fits of the model with so many modes in each layer."""
        task, orders = self._task, dict.fromkeys(self._task.systems, 2 * modes)
        method = way if way in REDUCTIONS else "gradient"
        reduced = {name: r.system for name, r in reduce_layers(task.systems, orders, method, task.length).items()}
        if way in CALIBRATED:
            reduced = self._calibrated(way, reduced, orders)
        return self._judge(reduced)

    def _calibrated(self, way: str, reduced: dict[str, System], orders: dict[str, int]) -> dict[str, System]:
        task = self._task
        calibration = task.samples.calibration
        samples: dict[str, NDArray[Any]] = {name: x[: self._sequences, : self._length] for name, x in calibration.items()}
        if way == "match without data":
            # All that is known: a mean of zero and how strong the shaker is.
            known = {
                name: dataclasses.replace(one, scale=Scale(np.zeros(()), np.asarray(np.float64(samples[name]).std())))
                for name, one in known_of_samples(task.samples).items()
            }
            drawn = draw(known, self._sequences, self._matching.seed)
            samples = {name: x[:, : self._length].astype(np.float32) for name, x in drawn.items()}
        signals = signals_of(samples, task.samples.axes, min(self._length, task.length), task.systems, orders)
        kind = "spectrum" if way == "spectrum" else "match"
        return calibrate(task.model, task.systems, reduced, signals, kind, "nrmse", self._matching).systems

    def _judge(self, systems: Mapping[str, System]) -> list[float]:
        model = copy.deepcopy(self._task.model).eval()
        for name, system in systems.items():
            # Equal to the blocks that a build puts there up to rounding, and several times faster on so long a recording.
            model.get_submodule(name).forward = functools.partial(system_forward, system)
        with torch.no_grad():
            predicted = model(torch.from_numpy(self._force)[None])[0].numpy()
        return [float(fit) for fit in fits(predicted, self._measured)]


def bracket(cells: dict[str, list[float]], way: str, threshold: float) -> tuple[int, int]:
    """Return the most modes that were too few and the fewest that sufficed, so far."""
    tried = {int(key.rpartition(" ")[2]): fit for key, fit in cells.items() if key.rpartition(" ")[0] == way}
    enough = min((modes for modes, fit in tried.items() if np.mean(fit) >= threshold), default=MODES)
    too_few = max((modes for modes, fit in tried.items() if np.mean(fit) < threshold and modes < enough), default=FEWEST - 1)
    return too_few, enough


def stored() -> dict[str, Any]:
    """Return the committed figures by regulariser, as far as there are any."""
    files = {name: RESULTS.with_name(FILES[name]) for name in PUBLISHED}
    return {name: json.loads(file.read_text(encoding="utf-8")) for name, file in files.items() if file.exists()}


def markdown(known: dict[str, Any]) -> str:
    """Return the tables: modes that can go, of 100, and the fits."""
    figures = known["no regulariser"]
    lines = ["| way | modes of 100 that can go | theirs | mean fit there |", "|---|---|---|---|"]
    for way in (*REDUCTIONS, *CALIBRATED):
        removed, enough = _removed(figures, way)
        if removed:
            fit = f"{np.mean(figures['cells'][f'{way} {enough}']):.2f}" if f"{way} {enough}" in figures["cells"] else ""
            lines.append(f"| `{way}` | {removed} | {PUBLISHED['no regulariser'].get(way, '')} | {fit} |")
    lines += ["", _fit_of(figures, "the original")]
    others = {name: known[name] for name in PUBLISHED if name in known and name != "no regulariser"}
    if others:
        heads = " | ".join(f"{name} | theirs" for name in others)
        lines += ["", "After a short training with a regulariser:", "", f"| way | {heads} |", "|---|" + "---|---|" * len(others)]
        for way in (*REDUCTIONS, *CALIBRATED):
            cells = [f"{_removed(found, way)[0]} | {PUBLISHED[name].get(way, '')}" for name, found in others.items()]
            if any(_removed(found, way)[0] for found in others.values()):
                lines.append(f"| `{way}` | {' | '.join(cells)} |")
        lines += ["", *(_fit_of(found, f"the model trained with the {name} one") for name, found in others.items())]
    return "\n".join(lines) + "\n"


def _removed(figures: dict[str, Any], way: str) -> tuple[str, int]:
    """Return how many modes can go, in words, and the fewest that sufficed."""
    too_few, enough = bracket(figures["cells"], way, float(np.mean(figures["original"])) * (1 - LOST))
    known = f"{way} {enough}" in figures["cells"]
    if enough - too_few <= 1:
        return str(MODES - enough), enough
    return (f"at least {MODES - enough}" if known else "" if too_few < FEWEST else f"fewer than {MODES - too_few}"), enough


def _fit_of(figures: dict[str, Any], whose: str) -> str:
    each = " / ".join(f"{fit:.1f}" for fit in figures["original"])
    return f"Fit of {whose}: {each}, mean {np.mean(figures['original']):.2f}."


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--model", default=MODEL_DIRECTORY, type=click.Path(exists=True, path_type=Path), show_default=False)
@click.option("--weights", "file", type=click.Path(exists=True, path_type=Path), help="In place of the shipped ones.")
@click.option("--ways", default=",".join((*REDUCTIONS, *CALIBRATED)), show_default=True)
@click.option("--first", help="Begin with these numbers of modes, as 25,20.")
@click.option("--steps", default=Matching.steps, show_default=True, help="Of match.")
@click.option("--batch", default=4, show_default=True, help="Sequences of a step of match.")
@click.option("--sequences", default=32, show_default=True, help="To calibrate on.")
@click.option("--length", default=5000, show_default=True, help="Samples of each of them.")
@click.option("--seconds", default=float("inf"), help="Begin no figure later than this.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS, show_default=False)
def main(
    folder: Path,
    model: Path,
    file: Path | None,
    ways: str,
    first: str | None,
    steps: int,
    batch: int,
    sequences: int,
    length: int,
    seconds: float,
    out: Path,
) -> None:
    begun = time.monotonic()
    torch.set_num_threads(1)
    task = load(open_source(str(model), weights=file))
    assert task.source.weights is not None
    weights = digest(task.source.weights)
    measure = Fits(task, folder, Matching(steps=steps, batch=batch), (sequences, length))
    known: dict[str, Any] = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
    if known.get("weights") != weights:
        known = {"weights": weights, "original": measure.original(), "cells": {}, "seconds": {}}
    known["matching"] = {"steps": steps, "batch": batch, "sequences": sequences, "length": length}
    threshold = float(np.mean(known["original"])) * (1 - LOST)
    click.echo(f"original: mean fit {np.mean(known['original']):.2f}")
    for way in ways.split(","):
        asked = [int(text) for text in first.split(",")] if first else []
        while time.monotonic() - begun < seconds:
            too_few, enough = bracket(known["cells"], way, threshold)
            if enough - too_few <= 1:
                break
            asked = [modes for modes in asked if too_few < modes < enough]
            modes = asked[0] if asked else (too_few + enough) // 2
            start = time.monotonic()
            cell = measure.reduced(way, modes)
            known["cells"][f"{way} {modes}"] = cell
            known["seconds"][f"{way} {modes}"] = round(time.monotonic() - start, 1)
            out.parent.mkdir(parents=True, exist_ok=True)
            unfinished = out.with_suffix(".part")
            unfinished.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")
            unfinished.replace(out)
            click.echo(f"{way}, {modes} modes: mean fit {np.mean(cell):.2f}  ({time.monotonic() - start:.0f} s)")
    click.echo(markdown({"no regulariser": known}))


if __name__ == "__main__":
    main()
