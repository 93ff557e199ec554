"""Rule: views that put batch and time into one axis, ``(batch, time, ...)`` as ``(batch x time, ...)``, and take them apart."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, fx

from ssm2edge.export.streaming.steps import BlockStep
from ssm2edge.export.streaming.timeline import Timeline, fixed_size
from ssm2edge.export.streaming.walk import Walk
from ssm2edge.traced.nodes import SAME_ORDER, operator_name
from ssm2edge.traced.program import TracedModel


class MergingRule:
    """Views with batch and time in one axis before them, after them, or both."""

    def accept(self, node: fx.Node, walk: Walk) -> BlockStep | None:
        """Accept them where the axis is the first, or batch and time stand beside each other in front, in the same order."""
        if operator_name(node) not in SAME_ORDER or not isinstance(node.args[0], fx.Node):
            return None
        x, traced = node.args[0], walk.traced
        before, after, major = walk.rows(x), walk.rows(node), walk.batch_major(x)
        if before is None or after is None or not (before.merged or after.merged):
            return None
        value, result = x.meta["val"], node.meta["val"]
        if not _in_front(value, before, major, traced) or not _in_front(result, after, major, traced):
            return None
        ratio = after.rate / before.rate
        ahead = ratio * walk.ahead(x)
        batch = None if after.merged else 0 if major else after.axis + 1
        sizes = [0 if axis == batch else -1 if axis == after.axis else fixed_size(size) for axis, size in enumerate(result.shape)]
        if ahead.denominator != 1 or after.offset != ratio * before.offset or None in sizes:
            return None

        def compute(args: tuple[object, ...], kwargs: dict[str, object], state: Tensor | None) -> tuple[object, Tensor | None]:
            samples, given = cast(Tensor, args[0]), cast(Tensor, args[-1])
            return samples.reshape(
                [given.shape[0] if axis == batch else cast(int, size) for axis, size in enumerate(sizes)]
            ), None

        return BlockStep(compute, ahead=ahead.numerator, beside=walk.given)


def _in_front(value: Tensor, line: Timeline, batch_major: bool, traced: TracedModel) -> bool:
    """Return True if nothing but the batch stands before time, or before what follows it."""
    if line.merged or not batch_major:
        second = None if line.merged else value.shape[1]
        return line.axis == 0 and (second is None or _is_batch(second, traced))
    return _is_batch(math.prod(value.shape[: line.axis]), traced) and traced.batch_first(value)


def _is_batch(size: object, traced: TracedModel) -> bool:
    return isinstance(size, torch.SymInt) and bool(size.node.expr == traced.batch_symbol)
