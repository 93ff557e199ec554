"""Whole sequences through the step in C, one sample or block after the other, against offline.onnx in onnxruntime.

    python scripts/whole_in_c.py [build/digits build/keywords ...] [--json docs/whole_in_c.json]

Turns of both in random order, one thread, times of the processor.  Artifacts get their first held-out sequence; without any, the
network of the latency table is run, with steps of 1, 16 and 64 samples.  The last numbers of both are compared first.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import click
import numpy as np
import onnx
from compare_c import CompiledStep
from latency.models import LENGTH, NETWORK, ORDER, offline_graph, stream_graph
from latency.sessions import open_session
from numpy.typing import NDArray

from ssm2edge.artifact import open_artifact
from ssm2edge.firmware.graph import read_graph
from ssm2edge.firmware.sources import Names
from ssm2edge.firmware.step import make_step
from ssm2edge.verification.interval import bootstrap_t

Array = NDArray[np.float32]

TURNS, BLOCKS = 60, (1, 16, 64)
SHORTEST = 2e-3
"""Seconds of a turn: calls are repeated within it."""
LARGEST_ERROR = 1e-4


def whole(graph: Path | onnx.ModelProto, samples: Array) -> Callable[[], Array]:
    """Return the call of a whole-sequence graph, its input and outputs bound."""
    session = open_session(graph)
    (name,) = (port.name for port in session.get_inputs())
    binding = session.io_binding()
    binding.bind_cpu_input(name, samples)
    for port in session.get_outputs():
        binding.bind_output(port.name)

    def call() -> Array:
        session.run_with_iobinding(binding)
        found: Array = binding.get_outputs()[0].numpy()
        return found

    return call


def stepped(stream: Path, samples: Array, folder: Path) -> tuple[Callable[[], Array], int]:
    """Return the call that starts a stream in C and steps it through a sequence, and the samples of a step."""
    step = make_step(read_graph(stream))
    compiled = CompiledStep(step, Names.of(step, "network"), folder)
    block = compiled.given.size // samples[0, 0].size
    cut = np.ascontiguousarray(samples[0, : len(samples[0]) // block * block].reshape(-1, compiled.given.size))

    def call() -> Array:
        compiled.reset()
        return compiled.run(cut)

    return call, block


def compared(calls: Mapping[str, Callable[[], Array]]) -> tuple[tuple[float, float, float], dict[str, float]]:
    """Return the ratio of C to onnxruntime with its interval, and the median seconds of each."""
    found = {name: call().ravel() for name, call in calls.items()}
    if abs(found["C"][-1] - found["onnxruntime"][-1]) > LARGEST_ERROR * np.abs(found["onnxruntime"]).max():
        raise SystemExit(f"The last output in C is {found['C'][-1]}, in onnxruntime {found['onnxruntime'][-1]}.")
    generator, seconds = np.random.default_rng(0), {name: list[float]() for name in calls}
    repeats = {name: _repeats(call) for name, call in calls.items()}
    for _ in range(TURNS):
        for name in generator.permutation(list(calls)):
            start = time.process_time()
            for _ in range(repeats[name]):
                calls[name]()
            seconds[name].append((time.process_time() - start) / repeats[name])
    interval = bootstrap_t(np.log(np.array(seconds["C"]) / seconds["onnxruntime"]), 0.95)
    ratio, low, high = (float(np.exp(value)) for value in (interval.mean, interval.low, interval.high))
    return (ratio, low, high), {name: float(np.median(values)) for name, values in seconds.items()}


def _repeats(call: Callable[[], Array]) -> int:
    start = time.process_time()
    call()
    return max(1, round(SHORTEST / max(time.process_time() - start, 1e-7)))


def sides(directories: tuple[Path, ...], folder: Path) -> Iterator[tuple[str, Path | onnx.ModelProto, Path, Array]]:
    """Yield name, whole-sequence graph, streaming graph and a sequence of what is compared."""
    for directory in directories:
        artifact = open_artifact(directory)
        assert artifact.stream is not None
        (sequence,) = (value[:1] for value in artifact.reference.inputs.values())
        yield directory.resolve().name, artifact.offline, artifact.stream, np.ascontiguousarray(sequence, np.float32)
    samples = np.random.default_rng(0).standard_normal((1, LENGTH, 1)).astype(np.float32)
    for block in () if directories else BLOCKS:
        path = folder / f"{block}.onnx"
        onnx.save(stream_graph(ORDER, block), path)
        width = open_session(path).get_inputs()[0].shape[-1]
        yield NETWORK, offline_graph(ORDER), path, np.ascontiguousarray(np.broadcast_to(samples, (1, LENGTH, width)))


@click.command(help=__doc__)
@click.argument("directories", nargs=-1, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--json", "target", type=click.Path(path_type=Path), help="File to add the figures to.")
def main(directories: tuple[Path, ...], target: Path | None) -> None:
    rows = []
    with tempfile.TemporaryDirectory() as place:
        for number, (name, offline, stream, samples) in enumerate(sides(directories, Path(place))):
            folder = Path(place) / str(number)
            folder.mkdir()
            call, block = stepped(stream, samples, folder)
            length = samples.shape[1] // block * block
            ratio, medians = compared({"C": call, "onnxruntime": whole(offline, np.ascontiguousarray(samples[:, :length]))})
            rows.append({"name": name, "length": length, "block": block, "ratio": list(ratio), "medians": medians})
            c, ours = (1e3 * medians[side] for side in ("C", "onnxruntime"))
            click.echo(
                f"{name}, {length} samples, steps of {block}: {c:.3f} ms in C, {ours:.3f} ms in onnxruntime, "
                f"{ratio[0]:.2f} ({ratio[1]:.2f} to {ratio[2]:.2f}) of it"
            )
    if target is not None:
        target.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
