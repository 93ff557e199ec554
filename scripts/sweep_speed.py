"""Two processes against one: the time of a sweep of models/digits and models/keywords, and whether its graphs are the same.

    python scripts/sweep_speed.py one two compare [--out speed]

Five orders and two precisions, reduced by balanced truncation, with few samples of each model, so that each part takes about five
minutes on a quiet machine.  `one` builds cell after cell in one process of as many threads as there are cores, `thread` with one
thread, `two` in two processes that share the cores, `single` some cells by `ssm2edge build`; `compare` prints the ratios, and
fails if a graph of a cell differs between the parts that are there.  Each part is a folder of OUT, made anew.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
MODELS = ("digits", "keywords")
HELD_OUT, CALIBRATION = 200, 50
"""Samples of each model."""
GRID = {"orders": "32,16,8,4,2", "precision": "float32,int8", "method": "balanced", "calibrate": "none"}
SINGLE = ((16, "float32"), (4, "int8"))
"""Orders and precisions of the single builds."""
GRAPHS = ("offline.onnx", "stream.onnx")


def cut(out: Path) -> list[Path]:
    """Return copies of the models with few samples."""
    for name in MODELS:
        place = out / "models" / name
        if place.exists():
            continue
        shutil.copytree(ROOT / "models" / name, place, ignore=shutil.ignore_patterns("results", "samples.npz", "*.wav"))
        with np.load(ROOT / "models" / name / "samples.npz") as samples:
            few = {key: samples[key][: CALIBRATION if key.startswith("calibration") else HELD_OUT] for key in samples.files}
        np.savez_compressed(place / "samples.npz", **few)
    return [out / "models" / name for name in MODELS]


def timed(command: list[str], cores: set[int] | None = None) -> dict[str, float]:
    """Run a command, and return its seconds and those of the processors."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    allowed = None if cores is None else lambda: os.sched_setaffinity(0, cores)
    subprocess.run([sys.executable, "-m", "ssm2edge.cli", *command], check=True, preexec_fn=allowed)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": round(time.monotonic() - start, 1), "processor_seconds": round(used, 1)}


def swept(models: list[Path], orders: str, out: Path, jobs: int, cores: set[int] | None = None) -> dict[str, float]:
    """Sweep, with nothing kept from before."""
    shutil.rmtree(out, ignore_errors=True)
    options = [part for name, value in {**GRID, "orders": orders}.items() for part in (f"--{name}", value)]
    return timed(["sweep", *map(str, models), *options, "--jobs", str(jobs), "--out", str(out)], cores)


def built(models: list[Path], out: Path) -> dict[str, float]:
    """Build some cells by themselves."""
    shutil.rmtree(out, ignore_errors=True)
    spent = []
    for model in models:
        for order, precision in SINGLE:
            options = ["--order", str(order), "--precision", precision, "--method", GRID["method"], "--calibrate", "none"]
            place = out / model.name / f"{order}-{precision}"
            spent.append(timed(["build", str(model), *options, "--out", str(place)])["processor_seconds"])
    return {"processor_seconds": round(sum(spent), 1)}


def graphs(place: Path) -> Iterator[tuple[tuple[str, int, str, str], bytes]]:
    """Yield the graphs of a part by model, order and precision."""
    for manifest in sorted([*place.glob("cells/*/*/manifest.json"), *place.glob("*/*/manifest.json")]):
        options = json.loads(manifest.read_text(encoding="utf-8"))["options"]
        for name in GRAPHS:
            cell = manifest.parent.parent.name, options["order"], options.get("precision", "float32"), name
            yield cell, (manifest.parent / name).read_bytes()


def compared(out: Path, known: dict[str, Any]) -> dict[str, Any]:
    """Return the ratios of the times, and the numbers of graphs that are the same in the parts that are there."""
    parts = {name: dict(graphs(out / name)) for name in ("one", "thread", "two", "single") if (out / name).exists()}
    first = parts["two"]
    different = [f"{name}: {cell}" for name, part in parts.items() for cell, graph in part.items() if first.get(cell) != graph]
    if different:
        raise SystemExit(f"These graphs differ from those of two processes: {', '.join(different)}.")
    ratios = {name: round(known[name]["seconds"] / known["two"]["seconds"], 2) for name in ("one", "thread") if name in known}
    return {"times_as_fast_as": ratios, "equal_graphs": {name: len(part) for name, part in parts.items()}}


@click.command(help=__doc__)
@click.argument("parts", nargs=-1, required=True, type=click.Choice(["one", "thread", "two", "single", "compare"]))
@click.option("--orders", default=GRID["orders"], show_default=True, help="Two of them take five minutes in all.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("speed"), show_default=True)
def main(parts: tuple[str, ...], orders: str, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    models, file = cut(out), out / "speed.json"
    known: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    for part in parts:
        if part == "compare":
            known |= compared(out, known)
        elif part == "single":
            known[part] = built(models, out / part)
        else:
            core = {min(os.sched_getaffinity(0))} if part == "thread" else None
            known[part] = swept(models, orders, out / part, 2 if part == "two" else 1, core)
        file.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    click.echo(json.dumps(known, indent=1))


if __name__ == "__main__":
    main()
