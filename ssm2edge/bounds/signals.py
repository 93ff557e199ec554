"""Bounds on a value on its way through a network, and on the difference between two networks' values.

Both are for one sequence with channels; a step in time is a vector over the channels.  The norm of an error is the root mean
square over time of the Euclidean norm over channels: it does not depend on the length, LTI blocks act on it by their
H-infinity norm, and the norm of a mean over time is not larger.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Size:
    """At every step the value is ``offset + axes * n`` with ``||n|| <= radius``, and its magnitudes are at most ``peak``.

    ``axes``, ``offset`` and ``peak`` are ``(channels,)`` float64; infinity says that nothing is known.
    """

    axes: Tensor
    radius: float
    offset: Tensor
    peak: Tensor

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.peak.shape[0]


def size_of_peak(peak: Tensor) -> Size:
    """Return the size of a value of which only the magnitudes are known."""
    return Size(torch.ones_like(peak), float(peak.norm()), torch.zeros_like(peak), peak)


def unknown_size(channels: int) -> Size:
    """Return the size of a value of which nothing is known."""
    return size_of_peak(torch.full((channels,), torch.inf, dtype=torch.float64))


@dataclass(frozen=True, eq=False)
class Term:
    """A part of an error: ``axes * e`` with the norm of e at most ``value``; ``source`` is the layer that it stems from."""

    source: str
    axes: Tensor
    value: float

    @property
    def norm(self) -> float:
        """Upper bound on the norm of this part."""
        return self.value * float(self.axes.max())


Error = tuple[Term, ...]
"""A sum of parts."""


def total(error: Error) -> float:
    """Return an upper bound on the norm of an error."""
    return sum(term.norm for term in error)


def scaled(error: Error, factor: float) -> Error:
    """Return the error behind a function of each channel by itself, with this Lipschitz constant."""
    return tuple(Term(term.source, term.axes, term.value * factor) for term in error)


def weighted(error: Error, weights: Tensor) -> Error:
    """Return the error behind factors or filters of the channels, with gains ``weights``."""
    return tuple(Term(term.source, term.axes * weights, term.value) for term in error)


def mixed(error: Error, matrix: Tensor) -> Error:
    """Return the error behind a matrix ``(outputs, channels)``."""
    return merged(error, lambda term: term.value * float(torch.linalg.matrix_norm(matrix * term.axes, 2)), matrix.shape[0])


def flattened(error: Error, factor: float, channels: int) -> Error:
    """Return the error behind a function of all channels together, with this Lipschitz constant."""
    return merged(error, lambda term: term.norm * factor, channels)


def merged(error: Error, value: Callable[[Term], float], channels: int) -> Error:
    """Return one part per source, of equal axes."""
    sums: dict[str, float] = {}
    for term in error:
        sums[term.source] = sums.get(term.source, 0.0) + value(term)
    ones = torch.ones(channels, dtype=torch.float64)
    return tuple(Term(source, ones, amount) for source, amount in sums.items())
