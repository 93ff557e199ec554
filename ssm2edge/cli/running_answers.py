"""Answers of a stream, shown as they come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from ssm2edge.errors import UserError
from ssm2edge.runtime import InputError, Stream

Arrays = Mapping[str, NDArray[Any]]

SHOWN = 8
"""Numbers of one answer in a line."""


def streamed(
    directory: Path, samples: Arrays, threads: int, classes: Sequence[str], show: bool
) -> tuple[dict[str, NDArray[Any]], int]:
    """Push samples block by block, and return the outputs and the samples that fill no block.

    Parameters
    ----------
    directory
        Artifact.
    samples
        By input.
    threads
        Of onnxruntime.
    classes
        Names of the classes.
    show
        Print a line for every sample of an output along time, and for every running answer, as soon as it is known.

    Raises
    ------
    UserError
        If the samples fill no block.
    InputError
        If the model takes no sequences of this length.
    """
    with Stream(directory, len(next(iter(samples.values()))), threads=threads) as stream:
        axes = {port.name: port.time_axis for port in stream.inputs}
        length = next(samples[name].shape[axis] for name, axis in axes.items() if axis is not None)
        if stream.length not in (None, length):
            raise InputError(f"The sequence has {length} samples, but the model takes sequences of exactly {stream.length}.")
        if stream.longest is not None and length > stream.longest:
            raise InputError(f"The sequence has {length} samples, but the model takes no more than {stream.longest}: cut it.")
        outputs = {port.name: port.time_axis for port in stream.outputs}
        counts, parts = dict.fromkeys(outputs, 0), []
        for start in range(0, length, stream.block):
            stop = min(start + stream.block, length)
            part = {
                name: value if axes[name] is None else value[(*[slice(None)] * (axes[name] or 0), slice(start, stop))]
                for name, value in samples.items()
            }
            parts.append(stream.push(part))
            if show and stream.pending == 0:
                _show(parts[-1], outputs, counts, stop, classes)
        left = stream.pending
        parts.append(stream.flush())
        if show and left:
            rest = {name: value for name, value in parts[-1].items() if outputs[name] is not None}
            _show(rest, outputs, counts, length, classes)
    return joined(parts, outputs), left


def _show(part: Arrays, axes: Mapping[str, int | None], counts: dict[str, int], samples: int, classes: Sequence[str]) -> None:
    """Print what became known after so many samples; the outputs along time have lines of their own numbers."""
    for name, value in part.items():
        axis = axes[name]
        if axis is None:
            _line(samples, name, value, classes)
            continue
        for moment in np.moveaxis(value, axis, 0):
            counts[name] += 1
            _line(counts[name], name, moment, ())


def _line(number: int, name: str, rows: NDArray[Any], classes: Sequence[str]) -> None:
    for row, values in enumerate(rows):
        flat = np.ravel(values)
        text = " ".join(f"{x:.5g}" for x in flat[:SHOWN].tolist()) + (" ..." if flat.size > SHOWN else "")
        largest = f"   {classes[int(flat.argmax())]}" if len(classes) == flat.size else ""
        place = f"   sequence {row}" if len(rows) > 1 else ""
        click.echo(f"{number:7}{place}   {name}   {text}{largest}")


def joined(parts: Sequence[Arrays], axes: Mapping[str, int | None]) -> dict[str, NDArray[Any]]:
    """Return the outputs of several pushes: joined along time, or the last answer."""
    last = {name: value for part in parts for name, value in part.items()}
    if not last:
        raise UserError("The samples fill no block, so there is no answer yet: give more, or run without --stream.")
    found = {}
    for name, value in last.items():
        axis = axes[name]
        found[name] = value if axis is None else np.concatenate([part[name] for part in parts], axis)
    return found
