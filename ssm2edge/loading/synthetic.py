"""Synthetic samples: of inputs of which only the shape is known, and beside calibration samples that are too few."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ssm2edge.errors import UserError
from ssm2edge.loading.arguments import Signature
from ssm2edge.loading.samples import Samples
from ssm2edge.loading.source import Source
from ssm2edge.loading.trial import trial
from ssm2edge.signals.draw import Known, draw
from ssm2edge.signals.shape import UNIT, Scale, Shape

Array = NDArray[Any]

CALIBRATION = 1 << 17
"""Time steps of all synthetic sequences to calibrate on: short sequences are many."""
FEWEST, MOST = 128, 2048
"""Sequences to calibrate on, as long as they are not too large."""
HELD_OUT = 64
"""Sequences to verify on."""
LARGEST = 1 << 24
"""Numbers of all sequences together."""
HELD_OUT_SEED = 0x5EED
"""No build calibrates on the sequences that it is verified on."""


def known_of_shapes(source: Source, model: nn.Module) -> dict[str, Known]:
    """Return what is known of each input of a model of which there are no samples.

    Parameters
    ----------
    source
        With shapes, and scales where they are known; otherwise statistics that a normalisation stores of an input are its scale.
    model
        The user's model, in eval mode.

    Raises
    ------
    UserError
        If shapes do not name the inputs, or the vocabulary of tokens is not known.
    """
    takes = Signature.of(model)
    shapes = {name or takes.only or "": shape for name, shape in source.shapes.items()}
    scales = {name or takes.only or "": scale for name, scale in source.scales.items()}
    arguments = takes.fill(list(shapes)) if "" not in shapes and set(takes.needed) <= set(shapes) else None
    if arguments is None:
        expected = ", ".join(takes.needed or takes.optional)
        given = ", ".join(name or "an input without a name" for name in shapes)
        raise UserError(
            f"There are shapes for {given}, but the model takes {expected}; give a shape for each, as --shape NAME=784,1."
        )
    unknown = [name for name in scales if name not in shapes]
    if unknown:
        raise UserError(
            f"There are a mean and a deviation of {unknown[0]}, but no input has this name; the model has {', '.join(shapes)}."
        )
    axes = {
        name: None if name in source.static or len(shape.sizes) < source.time_axis else source.time_axis
        for name, shape in shapes.items()
    }
    steps = {shape.sizes[axis - 1] for name, shape in shapes.items() if (axis := axes[name]) is not None}
    if len(steps) != 1:
        raise UserError(
            f"The shapes {', '.join(map(str, shapes.values()))} have {len(steps)} lengths along the time axis "
            f"{source.time_axis}; at least one input runs along time, and all that do have the same length."
        )
    zeros = {name: torch.zeros((1, *shapes[name].sizes), dtype=_DTYPES[shapes[name].kind]) for name in arguments.names}
    vocabularies, stored = trial(model, arguments, zeros)
    return {name: _known(name, shapes[name], axes[name], vocabularies, scales, stored) for name in arguments.names}


_DTYPES = {"float": torch.float32, "tokens": torch.int64, "mask": torch.bool, "lengths": torch.int64}


def _known(
    name: str,
    shape: Shape,
    axis: int | None,
    vocabularies: Mapping[str, int],
    scales: Mapping[str, Scale],
    stored: Mapping[str, Scale],
) -> Known:
    vocabulary = None
    if shape.kind == "tokens":
        symbols = shape.symbols or vocabularies.get(name)
        if symbols is None:
            raise UserError(f"The vocabulary of {name} is not known; say how many symbols it has, as --shape {name}={shape}256.")
        vocabulary = np.arange(symbols)
    features = shape.sizes[-1] if shape.sizes and axis != len(shape.sizes) else shape.sizes[-2] if len(shape.sizes) > 1 else 1
    scale = scales.get(name)
    if scale is None:
        scale = stored[name] if name in stored and stored[name].mean.size == features else UNIT
    for value in (scale.mean, scale.deviation):
        if value.ndim and value.size != features:
            raise UserError(
                f"There are {value.size} means or deviations of {name}, which has {features} features; give one for each."
            )
    return Known(shape.sizes, axis, shape.kind, vocabulary, scale)


def known_of_samples(samples: Samples) -> dict[str, Known]:
    """Return what samples show of each input: of those for calibration if there are any, or else of those held out."""
    found = {}
    for name, value in (samples.calibration or samples.held_out).items():
        axis, sizes = samples.axes[name], value.shape[1:]
        if value.dtype.kind == "f":
            moved = value.astype(np.float64) if axis is None else np.moveaxis(value, axis, 1).astype(np.float64)
            others = tuple(range(moved.ndim - 1)) if moved.ndim > (1 if axis is None else 2) else None
            found[name] = Known(sizes, axis, scale=Scale(moved.mean(others), moved.std(others)))
        elif value.dtype.kind == "b" and axis is not None:
            found[name] = Known(sizes, axis, "mask")
        else:
            found[name] = Known(sizes, axis, "tokens", np.unique(value))
    return found


def held_out(known: Mapping[str, Known]) -> dict[str, Array]:
    """Return synthetic sequences to verify on, by input."""
    return draw(known, _affordable(known, HELD_OUT), HELD_OUT_SEED)


def with_calibration(samples: Samples, seed: int) -> Samples:
    """Add synthetic sequences to the calibration samples, drawn from what is known of the inputs."""
    known = samples.known or known_of_samples(samples)
    count = sequences(known, samples.length)
    drawn = draw(known, count, seed)
    joined = {}
    for name, value in drawn.items():
        like = samples.held_out[name]
        joined[name] = value.astype(like.dtype)
        if samples.calibration:
            joined[name] = np.concatenate([samples.calibration[name], joined[name]])
    return replace(samples, calibration=joined, synthetic=count)


def sequences(known: Mapping[str, Known], length: int) -> int:
    """Return how many synthetic sequences of a length builds calibrate on."""
    return _affordable(known, max(FEWEST, min(MOST, CALIBRATION // length)))


def _affordable(known: Mapping[str, Known], count: int) -> int:
    numbers = max(sum(int(np.prod(one.sizes, dtype=np.int64)) for one in known.values()), 1)
    return max(1, min(count, LARGEST // numbers))
