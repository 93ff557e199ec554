"""Rule: parts of a sequence: without its ends, every so many samples, or the last sample alone.

Cutting off the end costs nothing (it is what follows a convolution padded on both sides); cutting off the beginning makes a value
less far ahead.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, fx

from ssm2edge.export.streaming.steps import BlockStep, as_is
from ssm2edge.export.streaming.timeline import fixed_size, linear_length
from ssm2edge.export.streaming.walk import Walk
from ssm2edge.export.streaming.windows import windowed
from ssm2edge.traced.nodes import argument_of, aten, normal_dimensions, operator_name

SHAPE_READERS = frozenset({"zeros_like", "ones_like", "full_like", "empty_like", "new_zeros", "new_ones", "new_full", "size"})
"""Operators that look only at the shape, type and device of their first argument."""


class ShapeReaderRule:
    """``x.new_zeros(...)`` and its like, with a result that does not run along time: a constant."""

    def accept(self, node: fx.Node, walk: Walk) -> BlockStep | None:
        """Accept results of a fixed length."""
        if operator_name(node) not in SHAPE_READERS or walk.traced.time_axes(node.meta.get("val")):
            return None
        return as_is(node, None, {})


class SliceRule:
    """``x[..., a:b:step]`` and ``x.narrow(axis, a, length)`` along time."""

    def accept(self, node: fx.Node, walk: Walk) -> BlockStep | None:
        """Accept slices that begin at a fixed sample, and the last sample."""
        if node.target not in (aten.slice.Tensor, aten.narrow.default):
            return None
        x = node.args[0]
        line = walk.timeline(x)
        if line is None or not isinstance(x, fx.Node):
            return None
        value, result = x.meta["val"], node.meta["val"]
        if normal_dimensions(argument_of(node, 1, "dim", 0), value.ndim) != (line.axis,):
            return None
        axis, step = line.axis, cast(int, argument_of(node, 4, "step", 1)) if node.target is aten.slice.Tensor else 1
        start = _start(argument_of(node, 2, "start"), walk)
        after = walk.timeline(node)
        if after is None:
            length = fixed_size(result.shape[axis])
            if length is not None and _only_shape_is_read(node):
                return _of_this_shape(axis, length)
            return _last(x, axis, walk, keep=True) if (start, length) == (-1, 1) else None
        if start is None or start < 0 or line.rate != step * after.rate:
            return None
        if step == 1:
            return BlockStep(lambda args, kwargs, state: (args[0], None), ahead=walk.ahead(x) - start)

        def pick(samples: Tensor, args: tuple[object, ...], kwargs: dict[str, object]) -> Tensor:
            return samples[(slice(None),) * axis + (slice(None, None, step),)]

        return windowed(node, x, walk, 1, step, -start, pick, "slice")


class LastSampleRule:
    """``x[..., -1]`` along time: after every block the last sample so far."""

    def accept(self, node: fx.Node, walk: Walk) -> BlockStep | None:
        """Accept the last sample."""
        if node.target is not aten.select.int:
            return None
        x, dimension, index = node.args
        line = walk.timeline(x)
        if line is None or not isinstance(x, fx.Node):
            return None
        from_end = index == -1 or _is_last(index, x, line.axis, walk)
        if normal_dimensions(dimension, x.meta["val"].ndim) != (line.axis,) or not from_end:
            return None
        return _last(x, line.axis, walk, keep=False)


def _last(x: fx.Node, axis: int, walk: Walk, keep: bool) -> BlockStep:
    def compute(args: tuple[object, ...], kwargs: dict[str, object], state: Tensor | None) -> tuple[object, Tensor | None]:
        block = cast(Tensor, args[0])
        last = block.shape[axis] - 1
        return (block.narrow(axis, last, 1) if keep else block.select(axis, last)), None

    return BlockStep(compute, final=True, delays=walk.settled(x))


def _start(start: object, walk: Walk) -> int | None:
    """The first sample as a number from the front, or from the end if negative; None if it is neither."""
    if start is None or isinstance(start, int):
        return start or 0
    size = start.meta.get("val") if isinstance(start, fx.Node) else start
    found = linear_length(size, walk.traced)
    return found[1] if found is not None and found[0] == 0 and found[1] >= 0 else None


def _is_last(index: object, x: fx.Node, axis: int, walk: Walk) -> bool:
    """Return True if an index is computed as the length less one."""
    number = index.meta.get("val") if isinstance(index, fx.Node) else index
    length = x.meta["val"].shape[axis]
    return isinstance(number, torch.SymInt) and number.node.expr == length.node.expr - 1


def _only_shape_is_read(node: fx.Node) -> bool:
    return all(getattr(user.target, "_opname", "") in SHAPE_READERS for user in node.users)


def _of_this_shape(axis: int, length: int) -> BlockStep:
    def compute(args: tuple[object, ...], kwargs: dict[str, object], state: Tensor | None) -> tuple[object, Tensor | None]:
        block = cast(Tensor, args[0])
        shape = list(block.shape)
        shape[axis] = length
        return block.narrow(axis, 0, 1).expand(shape), None

    return BlockStep(compute)
