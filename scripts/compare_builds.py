"""Compare the graphs of two builds of the same model: bits of their answers, bytes, nodes, load time, latency.

    python scripts/compare_builds.py OLD NEW [--sequences 8] [--blocks 200] [--rounds 40]

OLD holds reference.npz, of which the first sequences are the inputs, in batches of 1 and of 3.  offline.onnx runs on whole
sequences; stream.onnx runs block after block, each with the states that its own last block left.  Every output and state is
compared bit by bit.  Nodes are counted in the file and after onnxruntime's optimisation.  With --rounds, old and new graph take
turns, and the ratio of their times is printed with its interval of 95 %.  Exit code 1 if a single bit differs.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from ssm2edge.artifact import load_reference
from ssm2edge.artifact.reference import NAME
from ssm2edge.runtime.graph import Graph, Settings, open_graph
from ssm2edge.verification.latency import interleaved

Array = NDArray[Any]
BATCHES = (1, 3)
LOADS = 5


@click.command()
@click.argument("old", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("new", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--sequences", default=8, show_default=True, help="Sequences of the reference pack.")
@click.option("--blocks", default=200, show_default=True, help="Blocks of a stream, at most.")
@click.option("--rounds", default=0, show_default=True, help="Timings of each graph; none by default.")
def main(old: Path, new: Path, sequences: int, blocks: int, rounds: int) -> None:
    """Compare the graphs of two build directories; exit with 1 if their answers differ in any bit."""
    inputs = {name: value[:sequences] for name, value in load_reference(old / NAME).inputs.items()}
    equal = True
    for kind in ("offline", "stream"):
        files = [folder / f"{kind}.onnx" for folder in (old, new)]
        if not any(file.exists() for file in files):
            continue
        graphs = [open_graph(file, kind, Settings()) for file in files]
        pairs = zip(answers(graphs[0], inputs, blocks), answers(graphs[1], inputs, blocks), strict=True)
        differing = sorted({name for pair in pairs for name in different(*pair)})
        equal &= not differing
        bytes_equal = files[0].read_bytes() == files[1].read_bytes()
        verdict = f"DIFFERENT in {', '.join(differing)}" if differing else "the same bits"
        line = f"{old.name} {kind}: {verdict}; the files are {'equal' if bytes_equal else 'not equal'}"
        for title, count in (("bytes", size), ("nodes", nodes), ("optimised", optimised_nodes)):
            line += f"; {title} {count(files[0])} -> {count(files[1])}"
        line += f"; load {load_time(files[0], kind):.1f} -> {load_time(files[1], kind):.1f} ms"
        click.echo(line)
        if rounds:
            click.echo(f"    time of one call, new by old: {ratio(graphs, inputs, rounds)}")
    sys.exit(not equal)


def answers(graph: Graph, inputs: Mapping[str, Array], blocks: int) -> Iterator[dict[str, Array]]:
    """Yield the outputs of every call, states included."""
    names = [port.name for port in graph.session.get_outputs()]
    for batch in BATCHES:
        for feed in feeds(graph, {name: value[:batch] for name, value in inputs.items()}):
            if not graph.signature.states:
                yield dict(zip(names, graph.session.run(None, feed), strict=True))
                continue
            states = initial_states(graph, batch)
            for block in list(in_blocks(graph, feed))[:blocks]:
                answer = dict(zip(names, graph.session.run(None, block | states), strict=True))
                states = {state.input: answer[state.output] for state in graph.signature.states}
                yield answer
    if not graph.signature.states:
        for row in range(len(next(iter(inputs.values())))):
            feed = {name: value[row : row + 1] for name, value in inputs.items()}
            yield dict(zip(names, graph.session.run(None, feed), strict=True))


def feeds(graph: Graph, inputs: Mapping[str, Array]) -> Iterator[dict[str, Array]]:
    """Yield whole sequences, and shorter ones where the graph takes any length."""
    yield dict(inputs)
    if graph.signature.kind == "offline":
        for share in (0.1, 0.37):
            steps = int(length(graph, inputs) * share) // graph.signature.frame * graph.signature.frame
            if steps >= graph.signature.shortest:
                yield cut(graph, inputs, 0, steps)


def in_blocks(graph: Graph, inputs: Mapping[str, Array]) -> Iterator[dict[str, Array]]:
    """Yield the whole blocks of a sequence."""
    block = graph.signature.block
    assert block is not None
    for start in range(0, length(graph, inputs) - block + 1, block):
        yield cut(graph, inputs, start, start + block)


def cut(graph: Graph, inputs: Mapping[str, Array], start: int, stop: int) -> dict[str, Array]:
    """Return samples ``start`` to ``stop`` of every input."""
    return {port.name: inputs[port.name][port.along_time(start, stop)] for port in graph.signature.inputs}


def length(graph: Graph, inputs: Mapping[str, Array]) -> int:
    """Return the number of samples of the first input."""
    first = graph.signature.inputs[0]
    assert first.time_axis is not None
    return int(inputs[first.name].shape[first.time_axis])


def initial_states(graph: Graph, batch: int) -> dict[str, Array]:
    """Return the states before the first block."""
    return {state.input: np.full((batch, *state.shape), state.initial, state.dtype) for state in graph.signature.states}


def different(old: Mapping[str, Array], new: Mapping[str, Array]) -> list[str]:
    """Return the names of the values that differ in a bit, in shape or in type, or that only one of both has."""
    common = old.keys() & new.keys()
    bits = {name: (old[name].dtype, old[name].shape, old[name].tobytes()) for name in common}
    apart = [name for name in common if bits[name] != (new[name].dtype, new[name].shape, new[name].tobytes())]
    return [*apart, *(old.keys() ^ new.keys())]


def size(file: Path) -> int:
    """Return the bytes of a file."""
    return file.stat().st_size


def nodes(file: Path) -> int:
    """Return the number of nodes of the main graph."""
    return len(onnx.load(file).graph.node)


def optimised_nodes(file: Path) -> int:
    """Return the number of nodes that onnxruntime runs, bodies of loops left out."""
    with tempfile.TemporaryDirectory() as folder:
        options = Settings().options()
        options.optimized_model_filepath = str(Path(folder) / "optimised.onnx")
        new_session(file, options)
        return nodes(Path(options.optimized_model_filepath))


def new_session(file: Path, options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
    """Open a session of a file."""
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def load_time(file: Path, kind: str) -> float:
    """Return the milliseconds that opening takes, the best of several."""
    times = []
    for _ in range(LOADS):
        start = time.perf_counter()
        open_graph(file, kind, Settings())
        times.append(time.perf_counter() - start)
    return 1e3 * min(times)


def ratio(graphs: list[Graph], inputs: Mapping[str, Array], rounds: int) -> str:
    """Measure the time of one call with a batch of one: new relative to old, with its interval."""
    one = {name: value[:1] for name, value in inputs.items()}
    calls = dict(zip(("old", "new"), (one_call(graph, one) for graph in graphs), strict=True))
    found = interleaved(calls, baseline="old", rounds=rounds)
    change = found.ratio("new")
    return f"{change.ratio:.3f} ({change.low:.3f} to {change.high:.3f}), {1e6 * found.median('old'):.0f} us old"


def one_call(graph: Graph, inputs: Mapping[str, Array]) -> Callable[[], object]:
    """Return a call on one whole sequence, or one block."""
    feed = dict(inputs)
    if graph.signature.states:
        feed = next(in_blocks(graph, inputs)) | initial_states(graph, 1)
    return lambda: graph.session.run(None, feed)


if __name__ == "__main__":
    main()
