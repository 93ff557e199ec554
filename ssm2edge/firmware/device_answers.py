"""Device graphs against the graphs that they were made from, in onnxruntime."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ssm2edge.artifact import Artifact
from ssm2edge.firmware.comparing import blocks_of, largest_error, run_stream
from ssm2edge.firmware.driver import Array
from ssm2edge.runtime import Model, Stream


def sequences_of(artifact: Artifact, inputs: Mapping[str, Array], length: int | None) -> tuple[dict[str, Array], int]:
    """Return sequences by input, cut to a length or filled with zeros, and their samples.

    Parameters
    ----------
    artifact
        The artifact.
    inputs
        Sequences by input.
    length
        Samples of a whole sequence; those of the sequences unless given.
    """
    with Model(artifact.offline) as model:
        axes = {port.name: port.time_axis for port in model.inputs}
    found, samples = dict[str, Array](), 0
    for name, rows in inputs.items():
        axis = axes[name]
        found[name] = rows
        if axis is not None:
            samples = length or rows.shape[axis]
            missing = max(0, samples - rows.shape[axis])
            filled_up = np.pad(rows, [(0, missing if place == axis else 0) for place in range(rows.ndim)])
            found[name] = filled_up.take(range(samples), axis=axis)
    return found, samples


def whole_error(offline: Path, content: bytes, inputs: Mapping[str, Array], place: Path | None = None) -> float:
    """Return the largest difference of whole sequences, one by one, relative to the largest magnitude of an output.

    Parameters
    ----------
    offline
        The graph for onnxruntime.
    content
        The device graph.
    inputs
        Sequences by input.
    place
        File that the device graph was read from, for errors; None if it was made just now.
    """
    count = len(next(iter(inputs.values())))
    with _file(content, place) as file, Model(offline, checks=False) as original, Model(file, checks=False) as model:
        names = dict(zip((port.name for port in model.outputs), (port.name for port in original.outputs), strict=True))
        given = dict(zip((port.name for port in model.inputs), (port.name for port in original.inputs), strict=True))
        expected, found = [], []
        for row in range(count):
            one = {name: value[row : row + 1] for name, value in inputs.items()}
            expected.append(original.run(one))
            answers = model.run({name: one[key] for name, key in given.items()})
            found.append({names[name]: value for name, value in answers.items()})
    return largest_error(found, expected)


def streamed_error(stream: Path, content: bytes, inputs: Mapping[str, Array], place: Path | None = None) -> float:
    """Return the largest difference of streams, block by block; arguments and figure are as for `whole_error`."""
    with Stream(stream) as opened:
        taken, block = opened.inputs, opened.block
    count = len(next(iter(inputs.values())))
    sequences = [blocks_of({name: v[row : row + 1] for name, v in inputs.items()}, taken, block) for row in range(count)]
    sequences = [one for one in sequences if len(next(iter(one.values())))]
    expected = run_stream(stream, sequences)
    with _file(content, place) as file:
        with Stream(file) as opened:
            renamed = dict(zip((port.name for port in taken), (port.name for port in opened.inputs), strict=True))
            names = dict(zip((port.name for port in opened.outputs), expected[0], strict=True))
        found = run_stream(file, [{renamed[name]: value for name, value in one.items()} for one in sequences])
    return largest_error([{names[name]: value for name, value in one.items()} for one in found], expected)


@contextmanager
def _file(content: bytes, place: Path | None) -> Iterator[Path]:
    """Yield a file with the content: the one it was read from, so that errors name it, or one for the time being."""
    if place is not None:
        yield place
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "device.onnx"
        file.write_bytes(content)
        yield file
