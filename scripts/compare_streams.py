"""Offline against streaming over long signals, for a model with every streaming rule and for every model in models/.

    python scripts/compare_streams.py [--samples 100000] [--out models/digits/results/streams.json]

Each model is exported as it is built (reduced to the order in its build.toml by balanced truncation; no calibration, which does
not matter here), once for blocks of one frame and once for blocks of 16 frames.  Samples are pushed 1, 7, 16, 64 at a time and in
random numbers.  Outputs along time are compared in full with one run of the offline graph; final answers with the offline graph
on prefixes of 1,000, 3,162, 10,000 ... samples.  Errors are relative to the output's largest value; to show drift, those of the
first and of the last 1,000 samples are given beside the largest.  Then 64 streams in one batch are compared with 64 single ones.
Exit code 1 if an error is above 1e-4.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
import torch
from every_rule import MODELS, TOKENS, every_rule, traced_every_rule
from numpy.typing import NDArray

from ssm2edge.errors import UserError
from ssm2edge.export import InputAxes, StreamingError, TracedModel, export_offline, export_stream, trace
from ssm2edge.export.streaming import RULES, to_streaming
from ssm2edge.layers import exportable, find_layers, replace_layers
from ssm2edge.loading import input_names, load_model, load_samples, open_source
from ssm2edge.reduction.layerwise import reduce_layers
from ssm2edge.runtime import Model, Port, Stream

Array = NDArray[Any]
Subject = tuple[TracedModel, dict[str, Array], dict[str, Array]]
"""A traced model, one long signal, and a batch of short ones."""
LIMIT = 1e-4
STEPS = (1, 7, 16, 64, 0)
"""Samples a push; 0 stands for random numbers from 0 to 200."""
FRAMES = (1, 16)
"""Frames a block."""
EDGE = 1000
"""Samples at either end that are compared for drift."""


@dataclass(frozen=True)
class Row:
    """Errors of one output of one model, pushed in one way."""

    model: str
    block: int
    step: int
    output: str
    samples: int
    largest: float
    first: float
    last: float

    @property
    def passed(self) -> bool:
        """Within the limit, all along."""
        return bool(self.largest <= LIMIT)


def compare(name: str, offline: Model, stream: Path, inputs: Mapping[str, Array], step: int) -> list[Row]:
    """Push whole signals into a stream and compare every output with the offline graph.

    Parameters
    ----------
    name
        What the rows call the model.
    offline
        The whole-sequence graph.
    stream
        The streaming graph's file.
    inputs
        Signals ``(rows, ...)``, several frames of 1,000 samples long.
    step
        Samples a push; 0 for random numbers.
    """
    axes = {port.name: port.time_axis for port in offline.inputs}
    length = next(value.shape[axis] for name, value in inputs.items() if (axis := axes[name]) is not None)
    along: dict[str, list[Array]] = {}
    answers: list[tuple[int, dict[str, Array]]] = []
    with Stream(stream, len(next(iter(inputs.values())))) as pushed:
        block, ports = pushed.block, {port.name: port for port in pushed.outputs}
        targets = [x for k in range(6, 40) if EDGE <= (x := round(10 ** (k / 2) / block) * block) < length] + [length]
        for start, stop in _spans(length, step):
            outputs = pushed.push(_cut(inputs, axes, start, stop))
            for key, value in outputs.items():
                if ports[key].time_axis is not None:
                    along.setdefault(key, []).append(value)
            if targets and stop >= targets[0]:
                targets.pop(0)
                answers.append((stop // block * block, {k: v for k, v in outputs.items() if ports[k].time_axis is None}))
        for key, value in pushed.flush().items():
            if ports[key].time_axis is not None:
                along.setdefault(key, []).append(value)
    rows = []
    whole = offline.run(inputs)
    for key, parts in along.items():
        rows.append(Row(name, block, step, key, length, *_errors_along(ports[key], parts, whole[key], length)))
    for key in answers[0][1]:
        errors = []
        for prefix, values in answers:
            expected = offline.run(_cut(inputs, axes, 0, prefix))[key]
            errors.append(float(np.abs(values[key] - expected).max() / np.abs(expected).max()))
        rows.append(Row(name, block, step, key, length, max(errors), errors[0], errors[-1]))
    return rows


def _errors_along(port: Port, parts: list[Array], whole: Array, length: int) -> tuple[float, float, float]:
    axis = port.time_axis or 0
    found = np.concatenate(parts, axis)
    assert found.shape == whole.shape, f"{port.name}: {found.shape} streamed, {whole.shape} offline"
    others = tuple(a for a in range(found.ndim) if a != axis)
    error = np.abs(found - whole).max(axis=others) / np.abs(whole).max()
    edge = EDGE * found.shape[axis] // length
    return float(error.max()), float(error[:edge].max()), float(error[-edge:].max())


def _spans(length: int, step: int) -> Iterator[tuple[int, int]]:
    generator, start = np.random.default_rng(step), 0
    while start < length:
        stop = min(length, start + (step or int(generator.integers(0, 201))))
        yield start, stop
        start = stop


def _cut(inputs: Mapping[str, Array], axes: Mapping[str, int | None], start: int, stop: int) -> dict[str, Array]:
    return {
        name: value if (axis := axes[name]) is None else value[(slice(None),) * axis + (slice(start, stop),)]
        for name, value in inputs.items()
    }


def compare_batch(offline: Model, stream: Path, inputs: Mapping[str, Array]) -> float:
    """Largest relative difference between streams in one batch and the same streams alone."""
    rows = len(next(iter(inputs.values())))
    largest = 0.0
    with Stream(stream, rows) as together, Stream(stream) as alone:
        batch = together.push(inputs)
        for row in range(rows):
            alone.reset()
            single = alone.push({name: value[row : row + 1] for name, value in inputs.items()})
            for name, value in single.items():
                largest = max(largest, float(np.abs(batch[name][row : row + 1] - value).max() / np.abs(batch[name]).max()))
    return largest


def every_rule_signals(rows: int, length: int) -> dict[str, Array]:
    """Random tokens and noise."""
    generator = np.random.default_rng(0)
    return {
        "tokens": generator.integers(0, TOKENS, (rows, length)),
        "sound": generator.standard_normal((rows, 2, length)).astype(np.float32),
    }


def shipped(directory: Path, rows: int, length: int) -> Subject:
    """A shipped model reduced to the order in its build.toml, one long signal, and a batch of short ones, of held-out samples."""
    source = open_source(str(directory))
    model = load_model(source)
    samples = load_samples(source.samples, input_names(model), source.time_axis, source.metric)
    layers = {layer.name: layer.system for layer in find_layers(model)}
    orders = {name: min(system.order, int(source.defaults.get("order", 16))) for name, system in layers.items()}
    reductions = reduce_layers(layers, orders, "balanced", None)
    replaced = replace_layers(model, {name: reduction.system for name, reduction in reductions.items()})
    axis = source.time_axis
    inputs = [InputAxes(name, axis, torch.from_numpy(value[:1])) for name, value in samples.held_out.items()]
    long, short = {}, {}
    for name, value in samples.held_out.items():
        in_a_row = np.concatenate(list(value), axis=axis - 1)
        long[name] = np.take(in_a_row, np.arange(length) % in_a_row.shape[axis - 1], axis=axis - 1)[None]
        short[name] = value[np.arange(rows) % len(value)]
    return trace(exportable(replaced), inputs), long, short


def made(frames: bool, rows: int, length: int) -> Subject:
    """The model with every rule."""
    return traced_every_rule(every_rule(frames)), every_rule_signals(1, length), every_rule_signals(rows, 400)


def subjects() -> dict[str, Callable[[int, int], Subject]]:
    """What makes each subject of a number of rows and a length, by name."""
    found: dict[str, Callable[[int, int], Subject]] = {"every rule": partial(made, True), "one rate": partial(made, False)}
    return found | {file.parent.name: partial(shipped, file.parent) for file in sorted(MODELS.glob("*/build.toml"))}


@click.command()
@click.option("--samples", default=100_000, show_default=True, help="Length of the signals.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the table as JSON.")
@click.option("--only", help="Name of one model.")
def main(samples: int, out: Path | None, only: str | None) -> None:
    """Compare and print the table."""
    rows: list[Row] = []
    batches, refused, absent = {}, {}, {}
    click.echo(f"{'model':>12} {'block':>5} {'step':>6} {'output':>9} {'largest':>9} {'first 1k':>9} {'last 1k':>9}")
    for name, make in subjects().items():
        if only not in (None, name):
            continue
        try:
            traced, signal, short = make(64, samples)
        except UserError as error:
            # Samples that may not be shipped are fetched by the model's own script.
            absent[name] = str(error)
            click.echo(f"{name:>12} left out: {error}")
            continue
        with tempfile.TemporaryDirectory() as folder:
            onnx.save(export_offline(traced), Path(folder, "offline.onnx"))
            with Model(Path(folder, "offline.onnx")) as offline:
                for frames in FRAMES:
                    path = Path(folder, f"{frames}.onnx")
                    try:
                        onnx.save(_stream(traced, frames), path)
                    except StreamingError as error:
                        refused[name] = str(error)
                        click.echo(f"{name:>12} {error}")
                        break
                    for step in STEPS:
                        begun = time.monotonic()
                        found = compare(name, offline, path, signal, step)
                        for row in found:
                            number = "random" if step == 0 else str(step)
                            click.echo(
                                f"{name:>12} {row.block:>5} {number:>6} {row.output:>9} "
                                f"{row.largest:>9.1e} {row.first:>9.1e} {row.last:>9.1e}"
                            )
                        rows += found
                        click.echo(f"{'':>12} {time.monotonic() - begun:.0f} s", err=True)
                else:
                    batches[name] = compare_batch(offline, path, short)
                    click.echo(f"{name:>12} 64 streams in one batch against each alone: {batches[name]:.1e}")
    failed = [row for row in rows if not row.passed]
    if out is not None:
        content = {
            "limit": LIMIT,
            "rows": [asdict(row) for row in rows],
            "batches_of_64": batches,
            "refused": refused,
            "left_out": absent,
        }
        out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    largest = max((row.largest for row in rows), default=0.0)
    click.echo(f"{len(rows)} rows, largest error {largest:.1e}, {len(failed)} above {LIMIT:g}")
    sys.exit(1 if failed else 0)


def _stream(traced: TracedModel, frames: int) -> onnx.ModelProto:
    """The streaming graph for blocks of so many frames."""
    return export_stream(traced, frames * to_streaming(traced, RULES).frame)[0]


if __name__ == "__main__":
    main()
