"""Rule: padding along time, by an operation of its own or by joining constants on.

A block stays what it is; what changes is how far ahead it is.  What is padded is looked at only where a state begins with it.
"""

from __future__ import annotations

import math
from typing import cast

from torch import Tensor, fx

from ssm2edge.export.streaming.steps import BlockStep
from ssm2edge.export.streaming.timeline import fixed_size
from ssm2edge.export.streaming.walk import Walk
from ssm2edge.traced.nodes import argument_of, aten, normal_dimensions, traced_value


class PaddingRule:
    """``pad(x, pads)`` with a constant; negative pads cut."""

    def accept(self, node: fx.Node, walk: Walk) -> BlockStep | None:
        """Accept constant padding."""
        if node.target not in (aten.pad.default, aten.constant_pad_nd.default) or walk.timed(node) != [node.args[0]]:
            return None
        x = node.args[0]
        line = walk.timeline(x)
        if node.target is aten.pad.default:
            mode, value = argument_of(node, 2, "mode", "constant"), argument_of(node, 3, "value")
        else:
            mode, value = "constant", argument_of(node, 2, "value", 0.0)
        # A state holds the difference from what is padded, which must not swallow the samples.
        if line is None or mode != "constant" or not math.isfinite(cast(float, value or 0.0)):
            return None
        assert isinstance(x, fx.Node)
        pads = list(cast("list[int]", node.args[1]))
        place = 2 * (x.meta["val"].ndim - 1 - line.axis)
        left, right = [*pads, *[0] * place, 0, 0][place : place + 2]
        if not isinstance(left, int) or not isinstance(right, int):
            return None
        if left > 0:
            walk.refuse_behind(node, x)
        pads[place : place + 2] = [0] * len(pads[place : place + 2])
        elsewhere = any(pads)

        def compute(args: tuple[object, ...], kwargs: dict[str, object], state: Tensor | None) -> tuple[object, Tensor | None]:
            return (aten.constant_pad_nd.default(args[0], pads, value or 0.0) if elsewhere else args[0]), None

        ahead, delays = walk.without_end(x) if right > 0 else (walk.ahead(x), {})
        return BlockStep(compute, ahead=ahead + left, delays=delays)


class JoinedPaddingRule:
    """``cat((constants, x, constants), time)``."""

    def accept(self, node: fx.Node, walk: Walk) -> BlockStep | None:
        """Accept one value along time between others of fixed length."""
        if node.target is not aten.cat.default:
            return None
        parts = cast("list[fx.Node]", node.args[0])
        timed = [part for part in parts if walk.timeline(part) is not None]
        if len(timed) != 1 or walk.timed(node) != timed:
            return None
        x = timed[0]
        line = walk.timeline(x)
        assert line is not None
        if normal_dimensions(argument_of(node, 1, "dim", 0), x.meta["val"].ndim) != (line.axis,):
            return None
        place = parts.index(x)
        before = [fixed_size(cast(Tensor, traced_value(part)).shape[line.axis]) for part in parts[:place]]
        if None in before:
            return None
        left = sum(size for size in before if size is not None)
        if left > 0:
            walk.refuse_behind(node, x)

        def compute(args: tuple[object, ...], kwargs: dict[str, object], state: Tensor | None) -> tuple[object, Tensor | None]:
            return cast("list[Tensor]", args[0])[place], None

        ahead, delays = walk.without_end(x) if place < len(parts) - 1 else (walk.ahead(x), {})
        return BlockStep(compute, ahead=ahead + left, delays=delays)
