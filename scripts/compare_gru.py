"""A step of the latency table's network as C, against its own graph and a GRU of the same size, both in onnxruntime.

    python scripts/compare_gru.py

Turns of a hundred steps in random order; times are of the processor, one thread.  Exit code 1 if a step in C takes more than a
quarter of the GRU's.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import onnx
from compare_c import CompiledStep
from latency.models import GRU, LAYERS, NETWORK, ORDER, WIDTH, stream_graph
from latency.networks import gru_model
from latency.sessions import bound, open_session

from ssm2edge.firmware.graph import read_graph
from ssm2edge.firmware.sources import Names
from ssm2edge.firmware.step import make_step
from ssm2edge.verification.interval import bootstrap_t

TURNS, STEPS = 40, 100
LARGEST = 1 / 4


def repeated(call: Callable[[], object]) -> Callable[[], None]:
    """Return so many calls as one."""

    def run() -> None:
        for _ in range(STEPS):
            call()

    return run


@click.command()
def main() -> None:
    """Compare the three."""
    graph = stream_graph(ORDER, 1)
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "stream.onnx"
        onnx.save(graph, path)
        step = make_step(read_graph(path))
        compiled = CompiledStep(step, Names.of(step, "network"), Path(place))
        samples = np.random.default_rng(0).standard_normal((STEPS, compiled.given.size)).astype(np.float32)
        runs: dict[str, Callable[[], object]] = {
            "C": lambda: compiled.run(samples),
            "onnxruntime": repeated(bound(open_session(graph))),
            "GRU": repeated(bound(open_session(gru_model(WIDTH, LAYERS, 1)))),
        }
        generator, seconds = np.random.default_rng(0), {name: list[float]() for name in runs}
        for _ in range(TURNS):
            for name in generator.permutation(list(runs)):
                start = time.process_time()
                runs[name]()
                seconds[name].append((time.process_time() - start) / STEPS)
    click.echo(f"A step in C of {NETWORK}: {1e6 * np.median(seconds['C']):.1f} us.")
    held = True
    for name in ("onnxruntime", "GRU"):
        interval = bootstrap_t(np.log(np.array(seconds["C"]) / seconds[name]), 0.95)
        ratio, low, high = (float(np.exp(value)) for value in (interval.mean, interval.low, interval.high))
        what = GRU if name == "GRU" else "the same in onnxruntime"
        click.echo(f"{what}: {1e6 * np.median(seconds[name]):.1f} us; in C {ratio:.3f} ({low:.3f} to {high:.3f}) of it")
        held = high <= LARGEST
    sys.exit(not held)


if __name__ == "__main__":
    main()
