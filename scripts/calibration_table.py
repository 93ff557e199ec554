"""Accuracy of models/digits after every reduction method and both calibrations, at each order.

    python scripts/calibration_table.py

Match is run from several seeds, and at one order with fewer calibration sequences.  Results go to
models/digits/results/calibration.json as they come; what is there already is not run again unless --fresh is given.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click
import torch

from ssm2edge.calibration import Matching, calibrate_spectrum, signals_of
from ssm2edge.calibration.matching import match
from ssm2edge.calibration.teacher import Teacher
from ssm2edge.layers import blocks, replace_layers
from ssm2edge.loading import open_source
from ssm2edge.original.recording import record_outputs
from ssm2edge.original.task import Task
from ssm2edge.pipeline import load
from ssm2edge.reduction.layerwise import reduce_layers
from ssm2edge.systems.system import System

MODEL = Path(__file__).resolve().parent.parent / "models" / "digits"
RESULTS = MODEL / "results" / "calibration.json"
METHODS = ("balanced", "singular_perturbation", "modal", "last", "aire", "tlh2", "gradient")


def accuracy(task: Task, systems: dict[str, System]) -> float:
    """Share of right answers on the held-out digits."""
    answers = record_outputs(replace_layers(task.model, systems), task.held_out, task.time_axis)
    return float((next(iter(answers.values())).argmax(1) == next(iter(task.samples.labels.values()))).mean())


class Calibrations:
    """Calibrations after gradient reduction; what every seed of a match starts from is made once."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._teacher = Teacher(task.model, task.systems)
        self._spectra: dict[tuple[int, int], dict[str, System]] = {}

    def accuracy(self, kind: str, order: int, seed: int, sequences: int) -> float:
        """Held-out accuracy after a calibration on the first so many sequences."""
        task = self._task
        orders = dict.fromkeys(task.systems, order)
        samples = {name: value[:sequences] for name, value in task.samples.calibration.items()}
        signals = signals_of(samples, task.samples.axes, task.length, task.systems, orders)
        if (order, sequences) not in self._spectra:
            reduced = {name: r.system for name, r in reduce_layers(task.systems, orders, "gradient", task.length).items()}
            better = calibrate_spectrum(self._teacher, task.model, task.systems, reduced, signals)
            self._spectra[order, sequences] = better
        systems = self._spectra[order, sequences]
        if kind == "match":
            network = replace_layers(task.model, systems)
            match(self._teacher, network, signals, task.source.metric, Matching(seed=seed))
            systems = {name: block.system() for name, block in blocks(network).items()}
        return accuracy(task, systems)


def markdown(known: dict[str, Any]) -> str:
    """Accuracies as a table; match is the mean over its seeds, with the smallest and the largest."""
    orders = sorted({int(key.split()[1]) for key in known if key.startswith("gradient ")}, reverse=True)
    lines = ["| states kept per channel (of 64) | " + " | ".join(f"`{name}`" for name in (*METHODS, "spectrum", "match")) + " |"]
    lines.append("|" + "---|" * (len(METHODS) + 3))
    every = max(int(key.split()[-1]) for key in known if key.startswith("match "))
    for order in orders:
        matches = [value for key, value in known.items() if key.startswith(f"match {order} seed ") and key.endswith(f" {every}")]
        mean = sum(matches) / len(matches)
        cells = [f"{known[f'{method} {order}']:.4f}" for method in METHODS]
        cells.append(f"{known[f'spectrum {order} seed 0 sequences {every}']:.4f}")
        cells.append(f"{mean:.4f} ({min(matches):.4f} to {max(matches):.4f})")
        lines.append(f"| {order} | " + " | ".join(cells) + " |")
    fewer = sorted((int(key.split()[-1]), key) for key in known if key.startswith("match ") and not key.endswith(f" {every}"))
    lines += ["", f"Accuracy of the original: {known['original']:.4f}."]
    if fewer:
        lines[-1] += " `match` with fewer calibration sequences: " + ", ".join(
            f"{known[key]:.4f} from {count} (order {key.split()[1]})" for count, key in fewer
        )
        lines[-1] += "."
    return "\n".join(lines) + "\n"


@click.command(help=__doc__)
@click.option("--orders", default="8,2,4,16", show_default=True)
@click.option("--seeds", default=3, show_default=True)
@click.option("--sequences", default="25,50,100,250", show_default=True, help="Fewer calibration sequences, at --curve-order.")
@click.option("--curve-order", default=8, show_default=True)
@click.option("--threads", default=2, show_default=True)
@click.option("--fresh", is_flag=True, help="Run everything again.")
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS, show_default=False)
def main(orders: str, seeds: int, sequences: str, curve_order: int, threads: int, fresh: bool, out: Path) -> None:
    torch.set_num_threads(threads)
    task = load(open_source(str(MODEL)))
    calibrations = Calibrations(task)
    known: dict[str, Any] = json.loads(out.read_text()) if out.exists() and not fresh else {}
    known["original"] = accuracy(task, task.systems)
    known["held_out"] = len(next(iter(task.held_out.values())))
    every = len(next(iter(task.samples.calibration.values())))
    wanted = [int(text) for text in orders.split(",")]

    def note(key: str, value: float, start: float) -> None:
        known[key] = value
        out.write_text(json.dumps(known, indent=2) + "\n")
        click.echo(f"{key}: {value:.4f} ({time.monotonic() - start:.0f} s)")

    runs = [("match", order, seed, every) for seed in range(seeds) for order in wanted]
    runs[len(wanted) : len(wanted)] = [("spectrum", order, 0, every) for order in wanted]
    runs += [("match", curve_order, 0, int(text)) for text in sequences.split(",") if text]
    for kind, order, seed, count in runs:
        key = f"{kind} {order} seed {seed} sequences {count}"
        start = time.monotonic()
        if key not in known:
            note(key, calibrations.accuracy(kind, order, seed, count), start)
    for order in wanted:
        for method in METHODS:
            start = time.monotonic()
            if f"{method} {order}" not in known:
                reductions = reduce_layers(task.systems, dict.fromkeys(task.systems, order), method, task.length)
                note(f"{method} {order}", accuracy(task, {name: r.system for name, r in reductions.items()}), start)


if __name__ == "__main__":
    main()
