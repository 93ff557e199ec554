"""Rules: the first sample, which a state keeps from then on, and shifts that repeat it in front.

The state begins with a number that says whether there was a sample yet, so that it can start from zeros.
"""

from __future__ import annotations

import math
import sys
from typing import cast

import torch
from torch import Tensor, fx

from ssm2edge.export.streaming.rounding import rounded
from ssm2edge.export.streaming.steps import BlockStep, StateSpec, state_name
from ssm2edge.export.streaming.timeline import Timeline
from ssm2edge.export.streaming.walk import Walk, static_sizes
from ssm2edge.traced.nodes import argument_of, aten, normal_dimensions


class FirstSampleRule:
    """``x[..., 0]`` and ``x[..., :1]`` along time: a value without time, which samples may depend on."""

    def accept(self, node: fx.Node, walk: Walk) -> BlockStep | None:
        """Accept the first sample of a value that is known up to the block's end."""
        keep = _is_first(node)
        if keep is None:
            return None
        x = node.args[0]
        line = _exact_line(x, walk)
        if line is None or normal_dimensions(argument_of(node, 1, "dim", 0), x.meta["val"].ndim) != (line.axis,):  # type: ignore[union-attr]  # a node, for it has a line
            return None
        assert isinstance(x, fx.Node)
        rest = static_sizes(x.meta["val"], (0, line.axis))
        if rest is None:
            return None
        axis, width = line.axis, math.prod(rest)

        def compute(args: tuple[object, ...], kwargs: dict[str, object], state: Tensor | None) -> tuple[object, Tensor | None]:
            assert state is not None
            here = cast(Tensor, args[0]).narrow(axis, 0, 1)
            flat = here.reshape(-1, width).to(state.dtype)
            first = torch.where(state[:, :1] > 0, state[:, 1:], flat)
            value = first.reshape(-1, *rest).to(here.dtype)
            following = torch.cat((torch.ones_like(state[:, :1]), rounded(first)), dim=1)
            return (value.unsqueeze(axis) if keep else value), following

        return BlockStep(compute, StateSpec(state_name(node, "first"), (1 + width,)))


class RepeatedFirstRule:
    """``cat((x[:, :1], x[:, :-1]), 1)``, and ``pad(x, (k, 0), "replicate")`` of which the last k samples are cut off."""

    def accept(self, node: fx.Node, walk: Walk) -> BlockStep | None:
        """Accept shifts of a value that is known up to the block's end."""
        found = _joined(node, walk) if node.target is aten.cat.default else _padded(node, walk)
        if found is None:
            return None
        x, line, count, place = found
        rest = static_sizes(x.meta["val"], (0, line.axis))
        if rest is None:
            return None
        axis, width = line.axis, math.prod(rest)

        def compute(args: tuple[object, ...], kwargs: dict[str, object], state: Tensor | None) -> tuple[object, Tensor | None]:
            assert state is not None
            given = args[0][place] if isinstance(args[0], list | tuple) else args[0]
            block = cast(Tensor, given).movedim(axis, 1)
            steps = block.shape[1]
            first = block[:, :1].reshape(-1, 1, width).expand(-1, count, width).to(state.dtype)
            before = torch.where(state[:, :1, None] > 0, state[:, 1:].reshape(-1, count, width), first)
            known = torch.cat((before.reshape(-1, count, *rest).to(block.dtype), block), 1)
            kept = known[:, steps:].reshape(-1, count * width).to(state.dtype)
            following = torch.cat((torch.ones_like(state[:, :1]), rounded(kept)), dim=1)
            return known[:, :steps].movedim(1, axis), following

        return BlockStep(compute, StateSpec(state_name(node, "shift"), (1 + count * width,)), ahead=0)


Shift = tuple[fx.Node, Timeline, int, int]
"""The value that is shifted, its timeline, by how many samples, and its place among the values that are joined."""


def _joined(node: fx.Node, walk: Walk) -> Shift | None:
    parts = cast("list[fx.Node]", node.args[0])
    if len(parts) != 2 or not _is_first(parts[0]) or parts[1].target is not aten.slice.Tensor:
        return None
    first, rest = parts
    x = first.args[0]
    line, cut = _exact_line(x, walk), walk.timeline(rest)
    if (
        _whole(rest.args[0]) is not _whole(x)
        or line is None
        or cut is None
        or cut.axis != line.axis
        or cut.offset != line.offset - 1
    ):
        return None
    assert isinstance(x, fx.Node)
    axes = [argument_of(each, 1, "dim", 0) for each in (node, first, rest)]
    if any(normal_dimensions(axis, x.meta["val"].ndim) != (line.axis,) for axis in axes):
        return None
    # Cut at its end, not at its beginning.
    return (x, line, 1, 1) if argument_of(rest, 2, "start") in (None, 0) else None


def _padded(node: fx.Node, walk: Walk) -> Shift | None:
    if node.target is not aten.pad.default or argument_of(node, 2, "mode", "constant") != "replicate":
        return None
    x, pads = node.args[0], list(cast("list[int]", node.args[1]))
    line, padded = _exact_line(x, walk), walk.timeline(node)
    if line is None or padded is None or not isinstance(x, fx.Node) or line.axis != x.meta["val"].ndim - 1:
        return None
    count = pads[0]
    if not isinstance(count, int) or count < 1 or any(pads[1:]):
        return None
    # What is not cut off again would have to be known before it comes.
    cuts = [walk.timeline(user) for user in node.users if user.target is aten.slice.Tensor]
    cut_off = [cut is not None and cut.offset <= line.offset for cut in cuts]
    return (x, line, count, 0) if all(cut_off) and len(cuts) == len(node.users) else None


def _is_first(node: fx.Node) -> bool | None:
    """Return True for a slice of the first place, False for the first place selected, None for anything else."""
    if node.target is aten.slice.Tensor:
        span = (argument_of(node, 2, "start") or 0, argument_of(node, 3, "end"))
        return True if span == (0, 1) else None
    return False if node.target is aten.select.int and node.args[2] == 0 else None


def _whole(node: object) -> object:
    """Return what a node is, where it is a slice of everything: the exporter writes one for every ``:``."""
    while isinstance(node, fx.Node) and node.target is aten.slice.Tensor and node.args[2:4] == (0, sys.maxsize):
        node = node.args[0]
    return node


def _exact_line(x: object, walk: Walk) -> Timeline | None:
    """Return the timeline of a value with the batch in front that is known up to the block's end; else None."""
    line = walk.timeline(x)
    if line is None or not isinstance(x, fx.Node) or line.offset != 0 or not walk.traced.batch_first(x.meta["val"]):
        return None
    return line if walk.ahead(x) == 0 and x.meta["val"].is_floating_point() else None
