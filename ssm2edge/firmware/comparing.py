"""The C form against the streaming graph in onnxruntime, block by block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ssm2edge.firmware.driver import Array, Blocks
from ssm2edge.runtime import Stream
from ssm2edge.runtime.ports import Port


def blocks_of(inputs: Mapping[str, Array], ports: Sequence[Port], block: int) -> Blocks:
    """Cut one sequence, ``[1, ...]`` by input, into whole blocks: ``[blocks, elements]`` by input.

    An input without a time axis is repeated.
    """
    lengths = [inputs[port.name].shape[port.time_axis] for port in ports if port.time_axis is not None]
    count = min(lengths, default=block) // block
    found = {}
    for port in ports:
        value = inputs[port.name]
        if port.time_axis is None:
            found[port.name] = np.repeat(value.reshape(1, -1), count, axis=0)
            continue
        axis = port.time_axis
        whole = value[port.along_time(0, count * block)]
        cut = whole.reshape(*whole.shape[:axis], count, block, *whole.shape[axis + 1 :])
        found[port.name] = np.moveaxis(cut, axis, 0).reshape(count, -1)
    return found


def run_stream(path: Path, sequences: Sequence[Blocks]) -> list[dict[str, Array]]:
    """Return the outputs of the streaming graph in onnxruntime, ``[blocks, elements]`` for every sequence."""
    results = []
    with Stream(path, checks=False) as stream:
        # The C form counts no samples; both are compared behind a longest sequence, too.
        stream.unbind()
        shapes = {port.name: block_shape(port, stream.block) for port in stream.inputs}
        for sequence in sequences:
            stream.reset()
            count = len(next(iter(sequence.values())))
            rows: dict[str, list[Array]] = {port.name: [] for port in stream.outputs}
            for turn in range(count):
                feed = {name: values[turn].reshape(shapes[name]) for name, values in sequence.items()}
                found = stream.push(feed if len(feed) > 1 else next(iter(feed.values())))
                for name, value in found.items():
                    rows[name].append(value.ravel())
            results.append({name: np.stack(values) for name, values in rows.items()})
    return results


def largest_error(found: Sequence[Mapping[str, Array]], expected: Sequence[Mapping[str, Array]]) -> float:
    """Return the largest difference of any output, relative to the largest magnitude of that output in all sequences."""
    worst = 0.0
    for name in expected[0]:
        scale = max(float(np.abs(one[name].astype(np.float64)).max()) for one in expected)
        error = max(float(np.abs(a[name].astype(np.float64) - b[name]).max()) for a, b in zip(found, expected, strict=True))
        if not np.isfinite(error):
            return float("inf")
        worst = max(worst, error / max(scale, float(np.finfo(np.float32).tiny)) if error else 0.0)
    return worst


def block_shape(port: Port, block: int) -> tuple[int, ...]:
    """Return the shape of one block of a port, for a batch of one."""
    sizes = [1, *port.shape[1:]]
    if port.time_axis is not None:
        sizes[port.time_axis] = block
    return tuple(size for size in sizes if isinstance(size, int))
