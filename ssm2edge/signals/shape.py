"""Knowledge of an input of which there are no samples: its shape, its kind, and perhaps its scale."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm2edge.errors import UserError

Array = NDArray[Any]

KINDS = ("float", "tokens", "mask", "lengths")
"""Kinds of inputs: signals; symbols of a vocabulary; true up to the end of a sequence; numbers of steps."""

LARGEST = 1 << 26
"""Numbers of one sequence."""

_NOTATION = re.compile(r"(?P<sizes>\d+(?:,\d+)*)?(?::(?P<kind>[a-z]+)(?P<symbols>\d+)?)?")


@dataclass(frozen=True)
class Shape:
    """The shape of one sequence of an input, without the batch.

    Attributes
    ----------
    sizes
        Its axes.
    kind
        One of ``KINDS``.
    symbols
        Size of the vocabulary of tokens; None where the model's embedding says.
    """

    sizes: tuple[int, ...]
    kind: str = "float"
    symbols: int | None = None

    def __str__(self) -> str:
        sizes = ",".join(map(str, self.sizes))
        return sizes if self.kind == "float" else f"{sizes}:{self.kind}{self.symbols or ''}"


@dataclass(frozen=True, eq=False)
class Scale:
    """Mean and deviation of an input, alike for all of it or one number for each of the features behind its time axis."""

    mean: Array
    deviation: Array

    def of(self, sequences: Array) -> Array:
        """Return sequences of mean 0 and deviation 1, features last, at this scale."""
        scaled: Array = self.mean + self.deviation * sequences
        return scaled


UNIT = Scale(np.zeros(()), np.ones(()))


def shape_of(text: str) -> Shape:
    """Read a shape: ``784,1``, ``1024:tokens``, ``1024:tokens256``, ``98:mask``, ``:lengths``.

    Raises
    ------
    UserError
        If it is none.
    """
    found = _NOTATION.fullmatch(text.replace(" ", ""))
    if found is None or (found["kind"] or "float") not in KINDS or (found["symbols"] and found["kind"] != "tokens"):
        raise UserError(
            f"{text!r} is no shape; give the sizes of one sequence without the batch, as 784,1, and the kind behind a colon "
            "where the input is no signal: 1024:tokens, 98:mask or :lengths."
        )
    shape = Shape(
        tuple(int(size) for size in (found["sizes"] or "").split(",") if size),
        found["kind"] or "float",
        int(found["symbols"]) if found["symbols"] else None,
    )
    if 0 in shape.sizes or np.prod(shape.sizes, dtype=float) > LARGEST or (shape.symbols or 2) < 2:
        raise UserError(
            f"The shape {text!r} is out of range; give sizes of at least 1 and at most {LARGEST:,} numbers a sequence."
        )
    return shape


def shapes_of(given: Any) -> dict[str, Shape]:
    """Read the shapes of inputs.

    Parameters
    ----------
    given
        Text as :func:`shape_of` reads it, a number or numbers, or a mapping of these by input; the empty name stands for the
        only input.

    Raises
    ------
    UserError
        If one is no shape.
    """
    if isinstance(given, Mapping):
        return {str(name): next(iter(shapes_of(value).values())) for name, value in given.items()}
    if isinstance(given, Shape):
        return {"": given}
    if isinstance(given, int) and not isinstance(given, bool):
        given = (given,)
    if isinstance(given, Sequence) and not isinstance(given, str) and all(type(size) is int for size in given):
        given = ",".join(map(str, given))
    if not isinstance(given, str):
        raise UserError(f"{given!r} is no shape; give the sizes of one sequence without the batch, as 784,1.")
    return {"": shape_of(given)}


def scales_of(given: Any) -> dict[str, Scale]:
    """Read what is known of the scale of inputs.

    Parameters
    ----------
    given
        A pair of mean and deviation, numbers or lists of one number a feature, or a mapping of pairs by input; the empty name
        stands for the only input.

    Raises
    ------
    UserError
        If they are no finite numbers, or a deviation is not positive.
    """
    if given is None:
        return {}
    if isinstance(given, Mapping):
        return {str(name): next(iter(scales_of(pair).values())) for name, pair in given.items()}
    if isinstance(given, Scale):
        return {"": given}
    try:
        mean, deviation = (np.asarray(value, np.float64) for value in given)
        right = bool(np.isfinite(mean).all() and np.isfinite(deviation).all() and (deviation > 0).all())
    except (TypeError, ValueError):
        right = False
    if not right or mean.ndim > 1 or deviation.ndim > 1:
        raise UserError(
            f"{given!r} is no mean and deviation of an input; give two finite numbers, or lists of one for each feature, and "
            "deviations above 0."
        )
    return {"": Scale(mean, deviation)}
