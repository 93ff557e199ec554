"""Rule: cumulative sums over time go on from block to block.

The state is ``(batch, 2 x size of one sample)``, see ``compensated.py``.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, fx

from ssm2edge.export.streaming.compensated import added
from ssm2edge.export.streaming.steps import BlockStep, StateSpec, state_name
from ssm2edge.export.streaming.walk import Walk, static_sizes
from ssm2edge.traced.nodes import aten, normal_dimensions


class CumulativeSumRule:
    """``cumsum(x, time)`` of floating-point numbers."""

    def accept(self, node: fx.Node, walk: Walk) -> BlockStep | None:
        """Accept sums along time of a value whose other sizes are fixed."""
        x = node.args[0]
        line = walk.timeline(x)
        if node.target is not aten.cumsum.default or line is None or not isinstance(x, fx.Node):
            return None
        value: Tensor = x.meta["val"]
        rest = static_sizes(value, (0, line.axis))
        if normal_dimensions(node.args[1], value.ndim) != (line.axis,) or not node.meta["val"].is_floating_point():
            return None
        if rest is None or not walk.traced.batch_first(value):
            return None
        axis, width, dtype = line.axis, math.prod(rest), node.meta["val"].dtype
        sample = (-1, *rest[: axis - 1], 1, *rest[axis - 1 :])

        def compute(args: tuple[object, ...], kwargs: dict[str, object], state: Tensor | None) -> tuple[object, Tensor | None]:
            block = cast(Tensor, args[0]).to(dtype)
            assert state is not None
            before, cut_off = state[:, :width], state[:, width:]
            total, rest_after = added(before, cut_off, block.sum(axis).reshape(-1, width).to(state.dtype))
            y = block.cumsum(axis) + (before + cut_off).to(dtype).reshape(sample)
            return y, torch.cat((total, rest_after), dim=1)

        return BlockStep(compute, StateSpec(state_name(node, "cumsum"), (2 * width,)), ahead=0, delays=walk.settled(x))
