"""How far streams are from the offline graph and from float64, in rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from float64_reference import Float64Reference
from numpy.typing import NDArray

from ssm2edge.runtime import Model, Stream

Array = NDArray[Any]
LIMIT = 1e-4
STEPS = (1, 7, 16, 64, 0)
"""Samples a push; 0 stands for random numbers from 0 to 200."""
EDGE = 1000
"""Samples at either end that are compared for drift."""
ROUNDING = 2.0**-23
"""Relative errors below are rounding of the result itself."""


@dataclass(frozen=True)
class Row:
    """Errors of one output of one model, pushed in one way.

    Attributes
    ----------
    largest, first, last
        Stream against offline graph: all along, and at either end.
    stream_first, stream_last, offline_first, offline_last
        Both against float64, at either end.
    """

    model: str
    block: int
    step: int
    output: str
    samples: int
    largest: float
    first: float
    last: float
    stream_first: float
    stream_last: float
    offline_first: float
    offline_last: float

    @property
    def drifts(self) -> bool:
        """At the end further from float64 than float32 itself explains: the stream's beginning, or the offline graph there."""
        return bool(self.stream_last > 2 * max(self.stream_first, self.offline_last, ROUNDING))

    @property
    def passed(self) -> bool:
        """Within the limit all along, and no drift."""
        return bool(self.largest <= LIMIT) and not self.drifts


def compare(
    name: str, offline: Model, reference: Float64Reference, stream: Path, inputs: Mapping[str, Array], step: int
) -> list[Row]:
    """Push whole signals into a stream and compare every output with the offline graph.

    Parameters
    ----------
    name
        What the rows call the model.
    offline
        The whole-sequence graph.
    reference
        The same model in float64.
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
    whole, exact = offline.run(inputs), reference.run(inputs)
    for key, parts in along.items():
        axis = ports[key].time_axis or 0
        found = np.concatenate(parts, axis)
        assert found.shape == whole[key].shape, f"{key}: {found.shape} streamed, {whole[key].shape} offline"
        edge = EDGE * found.shape[axis] // length
        curves = [_along(found, whole[key], axis), _along(found, exact[key], axis), _along(whole[key], exact[key], axis)]
        ends = [float(part.max()) for curve in curves for part in (curve[:edge], curve[-edge:])]
        rows.append(Row(name, block, step, key, length, float(curves[0].max()), *ends))
    for key in answers[0][1]:
        errors = []
        for prefix, values in answers:
            signal = _cut(inputs, axes, 0, prefix)
            expected, precise = offline.run(signal)[key], reference.run(signal)[key]
            errors.append([_of_all(*pair) for pair in ((values[key], expected), (values[key], precise), (expected, precise))])
        beginning = max(1, sum(prefix <= length / 10 for prefix, _ in answers))
        extremes = zip(*(np.max(part, axis=0).tolist() for part in (errors[:beginning], errors[-1:])), strict=True)
        rows.append(
            Row(name, block, step, key, length, max(error[0] for error in errors), *(e for pair in extremes for e in pair))
        )
    return rows


def _along(found: Array, expected: Array, axis: int) -> Array:
    """Relative error at each place of an axis."""
    others = tuple(a for a in range(found.ndim) if a != axis)
    error: Array = np.abs(found - expected).max(axis=others) / np.abs(expected).max()
    return error


def _of_all(found: Array, expected: Array) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


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


def compare_batch(stream: Path, inputs: Mapping[str, Array]) -> float:
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
