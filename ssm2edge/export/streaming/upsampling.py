"""Rule: samples repeated in place, which raises the rate."""

from __future__ import annotations

from typing import cast

from torch import Tensor, fx

from ssm2edge.export.streaming.steps import BlockStep
from ssm2edge.export.streaming.walk import Walk
from ssm2edge.traced.nodes import aten, normal_dimensions


class UpsamplingRule:
    """``repeat_interleave(x, n, time)`` and ``interpolate(x, scale_factor=n)`` to the nearest sample."""

    def accept(self, node: fx.Node, walk: Walk) -> BlockStep | None:
        """Accept whole factors."""
        if node.target not in (aten.repeat_interleave.self_int, aten.upsample_nearest1d.vec):
            return None
        x = node.args[0]
        before, after = walk.timeline(x), walk.timeline(node)
        if before is None or after is None or not isinstance(x, fx.Node) or before.axis != after.axis:
            return None
        factor, axis = after.rate / before.rate, before.axis
        if factor.denominator != 1 or after.offset != factor * before.offset:
            return None
        if node.target is aten.repeat_interleave.self_int:
            dimension = node.args[2] if len(node.args) > 2 else node.kwargs.get("dim")
            if dimension is None or normal_dimensions(dimension, x.meta["val"].ndim) != (axis,):
                return None
        count = factor.numerator

        def compute(args: tuple[object, ...], kwargs: dict[str, object], state: Tensor | None) -> tuple[object, Tensor | None]:
            block = cast(Tensor, args[0])
            sizes = list(block.shape)
            sizes[axis] *= count
            repeated = block.unsqueeze(axis + 1).expand(*block.shape[: axis + 1], count, *block.shape[axis + 1 :])
            return repeated.reshape(sizes), None

        return BlockStep(compute, ahead=walk.ahead(x) * count)
