"""Random inputs of a model, drawn from what is known of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ssm2edge.signals.ensemble import LEAST, Array
from ssm2edge.signals.mixture import CHOSEN as ENSEMBLES_CHOSEN
from ssm2edge.signals.mixture import mixture
from ssm2edge.signals.shape import UNIT, Scale
from ssm2edge.signals.symbols import CHOSEN as SYMBOLS_CHOSEN
from ssm2edge.signals.symbols import symbols

SHORTEST = 1 / 8
"""Share of the steps that the shortest sequence has, where a mask or lengths let sequences end early."""


@dataclass(frozen=True, eq=False)
class Known:
    """Knowledge of an input.

    Attributes
    ----------
    sizes
        Axes of one sequence.
    axis
        Its time axis, the batch being axis 0; None without one.
    kind
        One of :data:`ssm2edge.signals.shape.KINDS`.
    vocabulary
        Values that tokens take.
    scale
        Of signals.
    """

    sizes: tuple[int, ...]
    axis: int | None
    kind: str = "float"
    vocabulary: Array | None = None
    scale: Scale = UNIT


def draw(
    inputs: Mapping[str, Known],
    count: int,
    seed: int,
    ensembles: Sequence[str] = ENSEMBLES_CHOSEN,
    kinds: Sequence[str] = SYMBOLS_CHOSEN,
) -> dict[str, Array]:
    """Return ``count`` random sequences of every input, by name, ``(count, ...)``: float64, int64 or bool.

    Where an input is a mask, or holds lengths, all inputs of a sequence end together, with zeros behind.

    Parameters
    ----------
    inputs
        What is known of each.
    count
        Sequences to draw.
    seed
        The same seed gives the same sequences.
    ensembles
        Of signals, by name.
    kinds
        Of sequences of tokens, by name.
    """
    generator = np.random.default_rng(seed)
    steps = next((known.sizes[known.axis - 1] for known in inputs.values() if known.axis is not None), 1)
    ending = any(known.kind in ("mask", "lengths") for known in inputs.values())
    ends = np.full(count, steps)
    if ending:
        short = generator.random(count) < 0.5
        ends = np.where(short, generator.integers(max(1, round(SHORTEST * steps)), steps + 1, count), ends)
    found = {}
    for name, known in inputs.items():
        if known.kind == "lengths":
            found[name] = np.broadcast_to(ends.reshape(-1, *(1,) * len(known.sizes)), (count, *known.sizes)).astype(np.int64)
            continue
        if known.kind == "tokens":
            value = _tokens(generator, count, known, kinds)
        else:
            value = _signals(generator, count, known, ensembles)
        if known.axis is not None:
            shape = [1] * value.ndim
            shape[known.axis] = steps
            heard = np.arange(steps).reshape(shape) < ends.reshape(-1, *(1,) * (value.ndim - 1))
            value = np.broadcast_to(heard, value.shape) if known.kind == "mask" else np.where(heard, value, 0)
        elif known.kind == "mask":
            value = np.ones(value.shape, bool)
        found[name] = value.astype({"tokens": np.int64, "mask": np.bool_}.get(known.kind, np.float64))
    return found


def _tokens(generator: np.random.Generator, count: int, known: Known, kinds: Sequence[str]) -> Array:
    assert known.vocabulary is not None
    if known.axis is None:
        return generator.choice(known.vocabulary, (count, *known.sizes))
    steps, features = _extent(known)
    flat = symbols(generator, count * features, steps, known.vocabulary, kinds).reshape(count, features, steps)
    return _placed(flat.swapaxes(1, 2), known)


def _signals(generator: np.random.Generator, count: int, known: Known, ensembles: Sequence[str]) -> Array:
    if known.axis is None:
        return known.scale.of(generator.standard_normal((count, *known.sizes)))
    steps, features = _extent(known)
    drawn = mixture(generator, count, steps, features, ensembles)
    centred = drawn - drawn.mean((0, 1))
    return _placed(centred / np.maximum(centred.std((0, 1)), LEAST), known, known.scale)


def _extent(known: Known) -> tuple[int, int]:
    """Return the steps, and the number of values at each."""
    assert known.axis is not None
    steps = known.sizes[known.axis - 1]
    return steps, int(np.prod(known.sizes, dtype=np.int64)) // steps


def _placed(sequences: Array, known: Known, scale: Scale = UNIT) -> Array:
    """Return ``(count, steps, features)``, at a scale by features, with the axes of the input."""
    assert known.axis is not None
    others = [size for place, size in enumerate(known.sizes, 1) if place != known.axis]
    placed: Array = np.moveaxis(scale.of(sequences.reshape(*sequences.shape[:2], *others)), 1, known.axis)
    return placed
