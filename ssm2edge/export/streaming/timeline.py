"""The course of a traced value along time: its axis, its rate, and how its length differs from the input's.

After n samples of the model's input, n a multiple of every stride, a value has ``rate x n + offset`` samples along time: a padded
value has a positive offset, what an average over four samples gives has a rate of 1/4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import sympy
import torch
from torch import Tensor

from ssm2edge.traced.program import TracedModel, contains_symbol

PERIOD = math.lcm(*range(1, 65), 128, 256, 512, 1024)
"""A length that every usual product of strides divides."""


@dataclass(frozen=True)
class Timeline:
    """See the module.

    Attributes
    ----------
    axis
        Axis along which time runs.
    rate
        Samples per sample of the model's input.
    offset
        Samples more than that.
    merged
        Whether the axis holds the samples of all sequences of the batch.
    """

    axis: int
    rate: Fraction
    offset: int
    merged: bool = False


def timeline(value: object, traced: TracedModel, merged: bool = False) -> Timeline | None:
    """Return the timeline of a traced tensor; None if time is no axis of it, or several, or its length is no linear function.

    Parameters
    ----------
    value
        What may be a tensor.
    traced
        The model.
    merged
        Whether an axis may hold the samples of all sequences of the batch.
    """
    axes = traced.time_axes(value)
    if len(axes) != 1 or not isinstance(value, Tensor):
        return None
    size = value.shape[axes[0]]
    assert isinstance(size, torch.SymInt)
    of_all = merged and contains_symbol(size, traced.batch_symbol)
    line = _linear(sympy.expand(size.node.expr / traced.batch_symbol) if of_all else size.node.expr, traced)
    return None if line is None or line[0] <= 0 else Timeline(axes[0], *line, of_all)


def fixed_size(size: object) -> int | None:
    """A traced size as a number, or None if it is not fixed."""
    if isinstance(size, torch.SymInt) and size.node.expr.is_Integer:
        return int(size.node.expr)
    return size if isinstance(size, int) else None


def linear_length(size: object, traced: TracedModel) -> tuple[Fraction, int] | None:
    """Rate and offset of a traced size, or None if it is no linear function of the length at multiples of its strides."""
    if isinstance(size, int):
        return Fraction(0), size
    if not isinstance(size, torch.SymInt):
        return None
    return _linear(size.node.expr, traced)


def _linear(expression: sympy.Expr, traced: TracedModel) -> tuple[Fraction, int] | None:
    if expression.free_symbols - {traced.time_symbol}:
        return None
    first, second, third = (expression.xreplace({traced.time_symbol: sympy.Integer(k * PERIOD)}) for k in (8, 9, 17))
    if not all(x.is_Integer for x in (first, second, third)) or third != first + 9 * (second - first):
        return None
    slope = Fraction(int(second - first), PERIOD)
    return slope / traced.multiple, int(first) - 8 * int(second - first)
