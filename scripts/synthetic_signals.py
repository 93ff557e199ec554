"""Calibration without any sample: every ensemble of synthetic signals on every reference model, and the mixture that builds use.

    python scripts/synthetic_signals.py [--models fashion,...] [--kinds white,...] [--divisors 8] [--seeds 0]
    python scripts/write_pages.py                         # the tables in docs/method.md and docs/results.md

Known of the inputs are the shape and the mean and deviation, or the size of the vocabulary.  The mixture was chosen by the
deviation of the outputs from the original's on the held-out samples (root mean square, relative; of logits without their common
part), not by labels; the metric is recorded beside it.  Figures go to docs/synthetic_signals.json as they come, and what is there
is not computed again.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from reproduce_tables import MODELS, ROOT
from table_cells import orders_at

from ssm2edge.calibration import Matching, calibrate, signals_of
from ssm2edge.loading import open_source
from ssm2edge.loading.synthetic import CALIBRATION, known_of_samples
from ssm2edge.options import Options
from ssm2edge.original.recording import record_outputs
from ssm2edge.original.task import Task
from ssm2edge.pipeline import load
from ssm2edge.reduction.layerwise import reduce_layers
from ssm2edge.signals.draw import Known, draw
from ssm2edge.signals.mixture import CHOSEN
from ssm2edge.signals.registry import ENSEMBLES
from ssm2edge.signals.shape import Scale
from ssm2edge.signals.symbols import SYMBOLS
from ssm2edge.stages.feedthrough import in_form
from ssm2edge.systems.system import System
from ssm2edge.verification.nrmse import normalised_error

FILE = ROOT / "docs" / "synthetic_signals.json"
BEFORE = ("none", "samples")
"""What synthetic signals are compared with: no calibration, and the shipped calibration samples."""
MIXTURE = "mixture"


class Model:
    """One reference model; what its figures share is made once."""

    def __init__(self, name: str) -> None:
        self.task = load(open_source(str(ROOT / "models" / name)))
        self.original = record_outputs(self.task.model, self.task.held_out, self.task.time_axis)
        self._reduced: dict[int, tuple[Task, dict[str, System]]] = {}

    @property
    def known(self) -> dict[str, Known]:
        """What a user without samples may know: one mean and one deviation, or how many symbols there are."""
        found = {}
        for name, known in known_of_samples(self.task.samples).items():
            values = self.task.samples.calibration[name].astype(np.float64)
            scale = Scale(np.asarray(values.mean()), np.asarray(values.std()))
            vocabulary = np.arange(256) if known.kind == "tokens" else None
            found[name] = dataclasses.replace(known, scale=scale, vocabulary=vocabulary)
        return found

    def reduced(self, divisor: int) -> tuple[Task, dict[str, System]]:
        """The layers as a build would reduce them without calibration."""
        if divisor not in self._reduced:
            orders = orders_at(self.task.systems, divisor)
            task = in_form(self.task, Options(order=1).feedthrough, orders)
            reductions = reduce_layers(task.systems, orders, "gradient", task.length)
            self._reduced[divisor] = task, {name: reduction.system for name, reduction in reductions.items()}
        return self._reduced[divisor]

    def figure(self, kind: str, divisor: int, seed: int, steps: int, count: int) -> dict[str, Any]:
        """Calibrate on signals of one kind, and judge on the held-out samples."""
        start = time.monotonic()
        task, systems = self.reduced(divisor)
        error = None
        if kind != "none":
            samples: Mapping[str, NDArray[Any]] = task.samples.calibration
            if kind != "samples":
                names = {"ensembles": [kind]} if kind in ENSEMBLES else {"kinds": [kind]} if kind in SYMBOLS else {}
                drawn = draw(self.known, count, seed, **names)
                samples = {name: value.astype(task.held_out[name].dtype) for name, value in drawn.items()}
            orders = {name: system.order for name, system in systems.items()}
            signals = signals_of(samples, task.samples.axes, task.length, task.systems, orders)
            matching = Matching(steps=steps, seed=seed)
            found = calibrate(task.model, task.systems, systems, signals, "match", task.metrics, matching)
            systems, error = found.systems, found.matched.after if found.matched is not None else None
        answers = record_outputs(task.replaced(systems), task.held_out, task.time_axis)
        ((name, labels),) = task.samples.labels.items()
        return {
            "deviation": self._deviation(answers[name], self.original[name]),
            "metric": self._metric(answers[name], labels),
            "matched": error,
            "seconds": round(time.monotonic() - start, 1),
        }

    def judged(self) -> float:
        """The metric of the original."""
        ((name, labels),) = self.task.samples.labels.items()
        return self._metric(self.original[name], labels)

    def _deviation(self, answers: NDArray[np.float32], original: NDArray[np.float32]) -> float:
        y, wanted = answers.astype(np.float64), original.astype(np.float64)
        if self.task.source.metric != "nrmse":
            y, wanted = (x - x.mean(-1, keepdims=True) for x in (y, wanted))
        return float(np.linalg.norm(y - wanted) / np.linalg.norm(wanted))

    def _metric(self, answers: NDArray[np.float32], labels: NDArray[Any]) -> float:
        if self.task.source.metric == "nrmse":
            return float(normalised_error(answers, labels))
        return float((answers.argmax(-1) == labels).mean())


def kinds_of(model: str, asked: str) -> list[str]:
    """The kinds for a model: of signals, or of symbols."""
    own = SYMBOLS if model == "text" else ENSEMBLES
    return [kind for kind in (asked.split(",") if asked else [*BEFORE, *own, MIXTURE]) if kind in (*BEFORE, *own, MIXTURE)]


def stored(file: Path = FILE) -> dict[str, Any]:
    """All figures so far."""
    known: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"originals": {}, "cells": {}}
    return known


@click.command(help=__doc__)
@click.option("--models", default=",".join(MODELS), show_default=True)
@click.option("--kinds", default="", help="Of signals or symbols, mixture, none, samples; all unless given.")
@click.option("--divisors", default="8", show_default=True, help="Shares of the states kept.")
@click.option("--seeds", default="0", show_default=True)
@click.option("--steps", default=Matching.steps, show_default=True, help="Of match.")
@click.option("--count", default=CALIBRATION, show_default=True, help="Sequences.")
@click.option("--threads", default=1, show_default=True)
@click.option("--seconds", default=float("inf"), help="Begin no figure later than this.")
@click.option("--out", type=click.Path(path_type=Path), default=FILE, show_default=False)
def main(
    models: str, kinds: str, divisors: str, seeds: str, steps: int, count: int, threads: int, seconds: float, out: Path
) -> None:
    torch.set_num_threads(threads)
    known, begun = stored(out), time.monotonic()
    known["mixture"] = list(CHOSEN)
    for name in models.split(","):
        wanted = [
            (kind, int(divisor), int(seed))
            for seed in seeds.split(",")
            for divisor in divisors.split(",")
            for kind in kinds_of(name, kinds)
        ]
        missing = [entry for entry in wanted if _key(name, *entry, steps, count) not in known["cells"]]
        if not missing or time.monotonic() - begun > seconds:
            continue
        model = Model(name)
        known["originals"][name] = {"metric": model.judged(), "samples": len(next(iter(model.task.held_out.values())))}
        for kind, divisor, seed in missing:
            if time.monotonic() - begun > seconds:
                break
            figure = model.figure(kind, divisor, seed, steps, count)
            known["cells"][_key(name, kind, divisor, seed, steps, count)] = figure
            unfinished = out.with_suffix(".part")
            unfinished.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")
            unfinished.replace(out)
            click.echo(f"{name} 1/{divisor} {kind}, seed {seed}: {figure['deviation']:.4f}, {figure['metric']:.4f}")


def _key(model: str, kind: str, divisor: int, seed: int, steps: int, count: int) -> str:
    # Nothing random is in figures without calibration, and samples are as many as there are.
    if kind == "none":
        return f"{model} 1/{divisor} none"
    return f"{model} 1/{divisor} {kind} seed {seed} steps {steps}" + ("" if kind == "samples" else f" sequences {count}")


if __name__ == "__main__":
    main()
