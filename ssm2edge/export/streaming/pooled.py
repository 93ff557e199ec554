"""The common part of poolings over time: the axes that go, and the shape of the rest."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, fx

from ssm2edge.export.streaming.walk import Walk, static_sizes
from ssm2edge.traced.nodes import normal_dimensions


@dataclass(frozen=True)
class Pooled:
    """A reduction over time, and perhaps over further axes, of a value whose other sizes are fixed.

    Attributes
    ----------
    time
        The axis along which time runs.
    axes
        All axes that are reduced.
    shape
        Sizes of the result behind the batch.
    delays
        What brings the value to the block's end.
    """

    time: int
    axes: tuple[int, ...]
    shape: tuple[int, ...]
    delays: Mapping[fx.Node, int]

    @property
    def width(self) -> int:
        """Numbers in the result for one stream."""
        return math.prod(self.shape)

    def shaped(self, row: Tensor) -> Tensor:
        """A row per stream ``(batch, width)`` as the result."""
        return row.reshape(-1, *self.shape)


def pooled_over_time(node: fx.Node, dimensions: object, keep: object, walk: Walk) -> Pooled | None:
    """The reduction of a node's first argument, or None if it is not over time, or over the batch.

    Raises
    ------
    StreamingError
        If the argument looks ahead or has another length than the input.
    """
    x = node.args[0]
    line = walk.timeline(x)
    if line is None or not isinstance(x, fx.Node):
        return None
    value: Tensor = x.meta["val"]
    axes = normal_dimensions(dimensions, value.ndim)
    if line.axis not in axes or 0 in axes or not walk.traced.batch_first(value):
        return None
    rest = static_sizes(value, (0, *axes))
    if rest is None:
        return None
    if keep:
        sizes = iter(rest)
        rest = tuple(1 if axis in axes else next(sizes) for axis in range(1, value.ndim))
    return Pooled(line.axis, axes, rest, walk.settled(x))
