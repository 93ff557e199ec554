"""Rule: views that keep the order of elements, also those that group time into frames or take frames apart.

``(batch, channels, time)`` seen as ``(batch, channels, time / 4, 4)`` runs at a quarter of the rate, and the other way round.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, fx

from ssm2edge.export.streaming.steps import BlockStep
from ssm2edge.export.streaming.timeline import Timeline, fixed_size
from ssm2edge.export.streaming.walk import Walk
from ssm2edge.export.streaming.windows import windowed
from ssm2edge.traced.nodes import SAME_ORDER, operator_name


class RegroupingRule:
    """Views whose time axis begins where it began, at the same rate or a multiple or a part of it."""

    def accept(self, node: fx.Node, walk: Walk) -> BlockStep | None:
        """Accept them where the result's sizes but for batch and time are fixed."""
        if operator_name(node) not in SAME_ORDER:
            return None
        x = node.args[0]
        before, after = walk.timeline(x), walk.timeline(node)
        if before is None or after is None or not isinstance(x, fx.Node):
            return None
        value, result = x.meta["val"], node.meta["val"]
        if _product(value.shape[: before.axis]) != _product(result.shape[: after.axis]):
            return None
        sizes = _sizes(result, after)
        if sizes is None:
            return None
        ratio = after.rate / before.rate

        def regroup(samples: Tensor, args: tuple[object, ...], kwargs: dict[str, object]) -> Tensor:
            length = samples.shape[before.axis] * ratio.numerator // ratio.denominator
            return samples.reshape([length if axis == after.axis else size for axis, size in enumerate(sizes)])

        if ratio.numerator == 1 and ratio.denominator > 1:
            return windowed(node, x, walk, ratio.denominator, ratio.denominator, 0, regroup, "frame")
        if ratio.denominator != 1 or after.offset != ratio * before.offset:
            return None

        def compute(args: tuple[object, ...], kwargs: dict[str, object], state: Tensor | None) -> tuple[object, Tensor | None]:
            return regroup(cast(Tensor, args[0]), args, kwargs), None

        return BlockStep(compute, ahead=walk.ahead(x) * ratio.numerator)


class ExpandRule:
    """``expand`` along axes other than time."""

    def accept(self, node: fx.Node, walk: Walk) -> BlockStep | None:
        """Accept values that have time already, at the same place."""
        if operator_name(node) != "expand":
            return None
        x = node.args[0]
        before, after = walk.timeline(x), walk.timeline(node)
        if before is None or after is None or not isinstance(x, fx.Node):
            return None
        from_right = x.meta["val"].ndim - before.axis
        if from_right != node.meta["val"].ndim - after.axis:
            return None

        def compute(args: tuple[object, ...], kwargs: dict[str, object], state: Tensor | None) -> tuple[object, Tensor | None]:
            sizes = list(cast("list[int]", args[1]))
            sizes[-from_right] = -1
            return cast(Tensor, args[0]).expand(sizes), None

        return BlockStep(compute, ahead=walk.ahead(x))


def _sizes(result: Tensor, line: Timeline) -> list[int] | None:
    """Sizes for a reshape: -1 for the one that holds the batch, whatever the time axis for the other that is not fixed."""
    sizes = [0 if axis == line.axis else fixed_size(size) for axis, size in enumerate(result.shape)]
    return None if sizes.count(None) > 1 else [-1 if size is None else size for size in sizes]


def _product(sizes: torch.Size) -> object:
    found = math.prod(sizes)
    return found.node.expr if isinstance(found, torch.SymInt) else found
