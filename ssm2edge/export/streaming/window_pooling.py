"""Rule: averages over windows of time, ``avg_pool1d``; the answer runs at a lower rate."""

from __future__ import annotations

from typing import cast

from torch import Tensor, fx

from ssm2edge.export.streaming.steps import BlockStep
from ssm2edge.export.streaming.walk import Walk
from ssm2edge.export.streaming.windows import windowed
from ssm2edge.traced.nodes import argument_of, aten


class WindowPoolingRule:
    """``avg_pool1d(x, size, stride, padding)`` with x ``(batch, channels, time)``, where padding counts as samples."""

    def accept(self, node: fx.Node, walk: Walk) -> BlockStep | None:
        """Accept averages whose last window is whole and whose padding counts."""
        if node.target is not aten.avg_pool1d.default or walk.timed(node) != [node.args[0]]:
            return None
        x = node.args[0]
        assert isinstance(x, fx.Node)
        line = walk.timeline(x)
        (size,) = cast("list[int]", node.args[1])
        (stride,) = cast("list[int]", argument_of(node, 2, "stride")) or [size]
        (padding,) = cast("list[int]", argument_of(node, 3, "padding", [0]))
        rounded_up, counted = argument_of(node, 4, "ceil_mode", False), argument_of(node, 5, "count_include_pad", True)
        if line is None or line.axis != 2 or rounded_up or (padding and not counted):
            return None

        def average(samples: Tensor, args: tuple[object, ...], kwargs: dict[str, object]) -> Tensor:
            y: Tensor = aten.avg_pool1d.default(samples, [size], [stride])
            return y

        return windowed(node, x, walk, size, stride, padding, average, "pool")
