"""Time and memory of each stage of a build, and their growth with layers, channels, states and length.

    python scripts/benchmark_build.py --layers 6 --channels 512 --states 64 --length 4096
    python scripts/benchmark_build.py --growth --out docs/build.json
    python scripts/benchmark_build.py --growth --only long --out docs/build.json
    python scripts/benchmark_build.py --reduction --out docs/build.json

Each build runs in a process of its own, so that its largest memory is known.  The model is the classifier of models/digits with
random weights, spread as training spreads them.  `--growth` builds a small model, four that are larger in one respect each, and
two of long sequences.  `--reduction` reduces the layers of the model, and does nothing else.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from model_modules import load_model_module
from numpy.typing import NDArray
from torch import nn

import ssm2edge
from ssm2edge.layers import find_layers
from ssm2edge.reduction.layerwise import reduce_layers

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Size:
    """Size of a build: of the model, of its samples, and what is asked for."""

    layers: int = 6
    channels: int = 512
    states: int = 64
    length: int = 4096
    calibration: int = 64
    held_out: int = 8
    order: int = 8
    steps: int = 150
    calibrate: str = "match"


SMALL = Size(layers=2, channels=64, states=32, length=1024, calibration=32, order=4, steps=30)
"""The build that the larger ones are compared with."""

GROWN = {
    "layers": replace(SMALL, layers=4),
    "channels": replace(SMALL, channels=128),
    "states": replace(SMALL, states=64),
    "length": replace(SMALL, length=2048),
}
"""Builds twice as large in one respect."""

LONG = {
    "matched": replace(SMALL, channels=32, length=16_000, calibration=30, held_out=4, steps=20),
    "long": replace(SMALL, channels=32, length=100_000, calibration=5, held_out=2, steps=20),
}
"""Builds on long sequences."""


def trained_like(size: Size) -> nn.Module:
    """Return a model whose decays, frequencies and outputs are spread as in a trained one."""
    torch.manual_seed(0)
    model: nn.Module = load_model_module(ROOT / "models" / "digits").make(size.channels, size.states, size.layers)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("log_A_real", "log_dt")):
                parameter.add_(0.5 * torch.randn_like(parameter))
            elif name.endswith("A_imag"):
                parameter.mul_(torch.exp(0.3 * torch.randn_like(parameter)))
            elif name.endswith(".C"):
                # Fast modes matter less to a trained model.
                parameter.div_((1 + torch.arange(parameter.shape[-2]))[:, None] ** 0.5)
    return model.eval()


def sequences(count: int, length: int) -> NDArray[np.float32]:
    """Return sums of a slow and a fast noise, ``(count, length, 1)``."""
    noise = np.random.default_rng(0).standard_normal((2, count, length))
    slow = np.fft.irfft(np.fft.rfft(noise[0]) / (1 + np.arange(length // 2 + 1)) ** 0.5, n=length)
    return np.asarray(slow / slow.std() + 0.1 * noise[1], np.float32)[..., None]


def measured(size: Size) -> dict[str, object]:
    """Build once, here, and return seconds and the largest memory so far at the end of each stage.

    Seconds are those of the clock, and those that all threads computed: a machine that is shared stretches the first alone.
    """
    stages: dict[str, dict[str, float]] = {}
    running, since, worked = "start", time.perf_counter(), time.process_time()

    def note(stage: str, share: float = 0.0) -> None:
        nonlocal running, since, worked
        name, now = stage.split(maxsplit=1)[0] if stage.startswith("verify") else stage.partition(":")[0], time.perf_counter()
        if name == running:
            return
        computed = time.process_time()
        figures = stages.setdefault(running, {"seconds": 0.0, "cpu_seconds": 0.0, "peak_gib": 0.0})
        figures["seconds"] += now - since
        figures["cpu_seconds"] += computed - worked
        figures["peak_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(
            f"  {running}: {figures['seconds']:.1f} s ({figures['cpu_seconds']:.1f} s computed), {figures['peak_gib']:.2f} GiB",
            file=sys.stderr, flush=True,
        )  # fmt: skip
        running, since, worked = name, now, computed

    model = trained_like(size)
    samples = sequences(size.calibration + size.held_out, size.length)
    start, computed = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        held_out, calibration = samples[: size.held_out], samples[size.held_out :]
        ssm2edge.build(
            model, {"pixels": calibration}, Path(folder) / "out", held_out={"pixels": held_out}, rebuild=True, progress=note,
            order=size.order, calibrate=size.calibrate, calibration_steps=size.steps,
        )  # fmt: skip
    spent = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - computed}
    note("end")
    stages.pop("start")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {**asdict(size), "threads": torch.get_num_threads(), **spent, "peak_gib": peak, "stages": stages}


def reduction(size: Size, threads: int) -> dict[str, Any]:
    """Reduce all layers once, as a build does, and return what it took."""
    torch.set_num_threads(threads)
    systems = {layer.name: layer.system for layer in find_layers(trained_like(size))}
    start, computed = time.perf_counter(), time.process_time()
    reduce_layers(systems, dict.fromkeys(systems, size.order), "gradient", size.length)
    figures = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - computed}
    channels = size.layers * size.channels
    click.echo(f"{channels:,} channels: {figures['seconds']:.1f} s by the clock, {figures['cpu_seconds']:.1f} s computed")
    return {"channels": channels, "states": size.states, "order": size.order, "threads": threads, **figures}


def in_own_process(size: Size, threads: int) -> dict[str, Any]:
    """Build in a new process, and print what it took."""
    command = [sys.executable, __file__, "--child", json.dumps(asdict(size))]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    found = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
    figures: dict[str, Any] = json.loads(found)
    longest = max(figures["stages"], key=lambda name: figures["stages"][name]["seconds"])
    click.echo(
        f"{size.layers} x {size.channels} channels x {size.states} states, length {size.length}: {figures['seconds']:.0f} s, "
        f"{figures['peak_gib']:.2f} GiB; longest: {longest}, {figures['stages'][longest]['seconds']:.0f} s"
    )
    return figures


def growth_of(threads: int, only: str) -> dict[str, Any]:
    """Build models of several sizes, or one of them."""
    sizes = {"small": SMALL, **GROWN, **LONG}
    return {name: in_own_process(size, threads) for name, size in sizes.items() if only in ("", name)}


@click.command(help=__doc__)
@click.option("--layers", default=Size.layers, show_default=True)
@click.option("--channels", default=Size.channels, show_default=True)
@click.option("--states", default=Size.states, show_default=True)
@click.option("--length", default=Size.length, show_default=True)
@click.option("--calibration", default=Size.calibration, show_default=True, help="Calibration sequences.")
@click.option("--held-out", default=Size.held_out, show_default=True, help="Held-out sequences.")
@click.option("--order", default=Size.order, show_default=True)
@click.option("--steps", default=Size.steps, show_default=True, help="Steps of matching.")
@click.option("--calibrate", default=Size.calibrate, show_default=True)
@click.option("--growth", is_flag=True, help="Build models of several sizes.")
@click.option("--only", default="", help="Name of one of these sizes.")
@click.option("--reduction", "alone", is_flag=True, help="Reduce the layers, and build nothing.")
@click.option("--threads", default=2, show_default=True)
@click.option("--child", default=None, hidden=True)
@click.option("--out", type=click.Path(path_type=Path), default=None, help="JSON file for the figures.")
def main(growth: bool, only: str, alone: bool, threads: int, child: str | None, out: Path | None, **size: Any) -> None:
    if child is not None:
        print(json.dumps(measured(Size(**json.loads(child)))))
        return
    if alone:
        figures = {"reduction": reduction(Size(**size), threads)}
    else:
        figures = growth_of(threads, only) if growth else {"build": in_own_process(Size(**size), threads)}
    if out is not None:
        known = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
        out.write_text(json.dumps(known | figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
