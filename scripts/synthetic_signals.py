"""Calibration without any sample: every ensemble of synthetic signals on every reference model, and the mixture that builds use.

    python scripts/synthetic_signals.py --steps 0 --judged 500            # the study: every kind of signal, by `spectrum`
    python scripts/synthetic_signals.py --kinds builds --divisors 8,16 --seeds 0,1,2       # what builds without data reach
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
from synthetic_table import FILE, stored
from table_figures import orders_at

from ssm2edge.calibration import Matching, calibrate, signals_of
from ssm2edge.loading import open_source
from ssm2edge.loading.synthetic import known_of_samples, sequences
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
from ssm2edge.stages.calibrate import PATIENT, with_evoked
from ssm2edge.stages.feedthrough import in_form
from ssm2edge.stages.progress import silent
from ssm2edge.systems.system import System
from ssm2edge.verification.nrmse import normalised_error

BEFORE = ("none", "samples")
"""Rivals of synthetic signals: no calibration, and the shipped calibration samples."""
MIXTURE, BUILDS = "mixture", "builds"
"""The mixture as it is drawn, and as builds take it: moved until the original recognises classes, where it has some."""


class Model:
    """One reference model; what its figures share is made once."""

    def __init__(self, name: str) -> None:
        self.task = load(open_source(str(ROOT / "models" / name)))
        self.original = record_outputs(self.task.model, self.task.held_out, self.task.time_axis)
        self._reduced: dict[int, tuple[Task, dict[str, System]]] = {}

    @property
    def known(self) -> dict[str, Known]:
        """Return the knowledge of a user without samples: one mean and one deviation, or the number of symbols."""
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

    def figure(self, kind: str, divisor: int, seed: int, steps: int, judged: int | None) -> dict[str, Any]:
        """Calibrate on signals of one kind, and judge on the held-out samples, or the first so many."""
        start = time.monotonic()
        task, systems = self.reduced(divisor)
        error = None
        if kind != "none":
            samples: Mapping[str, NDArray[Any]] = task.samples.calibration
            if kind != "samples":
                known = self.known
                names = {"ensembles": [kind]} if kind in ENSEMBLES else {"kinds": [kind]} if kind in SYMBOLS else {}
                drawn = draw(known, sequences(known, task.length), seed, **names)
                samples = {name: value.astype(task.held_out[name].dtype) for name, value in drawn.items()}
            if kind == BUILDS:
                count = len(next(iter(samples.values())))
                synthetic = dataclasses.replace(task.samples, calibration=samples, synthetic=count)
                options = Options(keep=1 / divisor, seed=seed)
                samples = with_evoked(dataclasses.replace(task, samples=synthetic), options, silent).samples.calibration
            orders = {name: system.order for name, system in systems.items()}
            signals = signals_of(samples, task.samples.axes, task.length, task.systems, orders)
            way = "match" if steps else "spectrum"
            careful = "nrmse" not in task.metrics if kind == BUILDS else kind != "samples"
            matching = Matching(steps=max(steps, 1), seed=seed, careful=careful)
            found = calibrate(task.model, task.systems, systems, signals, way, task.metrics, matching, careful=careful)
            systems, error = found.systems, found.matched.after if found.matched is not None else None
        held_out = {name: value[:judged] for name, value in task.held_out.items()}
        answers = record_outputs(task.replaced(systems), held_out, task.time_axis)
        ((name, labels),) = task.samples.labels.items()
        original = self.original[name][:judged]
        return {
            "deviation": self._deviation(answers[name], original),
            "metric": self._metric(answers[name], labels[:judged]),
            "original": self._metric(original, labels[:judged]),
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
    kinds = [*BEFORE, *own, MIXTURE, BUILDS]
    return [kind for kind in asked.split(",") if kind in kinds] if asked else kinds


@click.command(help=__doc__)
@click.option("--models", default=",".join(MODELS), show_default=True)
@click.option("--kinds", default="", help="Of signals or symbols, mixture, builds, none, samples; all unless given.")
@click.option("--divisors", default="8", show_default=True, help="Shares of the states kept.")
@click.option("--seeds", default="0", show_default=True)
@click.option("--steps", type=int, help="Of match; 0 for spectrum; those of a build unless given.")
@click.option("--judged", default=None, type=int, help="Held-out samples to judge on; all unless given.")
@click.option("--threads", default=1, show_default=True)
@click.option("--seconds", default=float("inf"), help="Begin no figure later than this; exit with 3 then.")
@click.option("--out", type=click.Path(path_type=Path), default=FILE, show_default=False)
def main(
    models: str,
    kinds: str,
    divisors: str,
    seeds: str,
    steps: int | None,
    judged: int | None,
    threads: int,
    seconds: float,
    out: Path,
) -> None:
    torch.set_num_threads(threads)
    known, begun = stored(out), time.monotonic()
    known |= {"ensembles": list(ENSEMBLES), "symbols": list(SYMBOLS), "mixture": list(CHOSEN)}
    for name in models.split(","):
        wanted = [
            (kind, int(divisor), int(seed))
            for seed in seeds.split(",")
            for divisor in divisors.split(",")
            for kind in kinds_of(name, kinds)
        ]
        own = _steps_of(name) if steps is None else steps
        missing = [entry for entry in wanted if _key(name, *entry, own) not in known["cells"]]
        if not missing:
            continue
        if time.monotonic() - begun > seconds:
            raise SystemExit(3)
        model = Model(name)
        known["originals"][name] = {"metric": model.judged(), "samples": len(next(iter(model.task.held_out.values())))}
        for kind, divisor, seed in missing:
            if time.monotonic() - begun > seconds:
                raise SystemExit(3)
            figure = model.figure(kind, divisor, seed, own, judged)
            known["cells"][_key(name, kind, divisor, seed, own)] = figure
            unfinished = out.with_suffix(".part")
            unfinished.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")
            unfinished.replace(out)
            click.echo(f"{name} 1/{divisor} {kind}, seed {seed}: {figure['deviation']:.4f}, {figure['metric']:.4f}")


def _steps_of(model: str) -> int:
    """Return the steps of a build without samples."""
    return PATIENT if open_source(str(ROOT / "models" / model)).metric == "nrmse" else Matching.steps


def _key(model: str, kind: str, divisor: int, seed: int, steps: int) -> str:
    # Nothing random is in figures without calibration.
    return f"{model} 1/{divisor} {kind}" + ("" if kind == "none" else f" seed {seed} {f'match {steps}' if steps else 'spectrum'}")


if __name__ == "__main__":
    main()
