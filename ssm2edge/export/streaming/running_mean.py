"""Rule: the mean over time becomes a running mean, so that the model answers after every block.

The state is the number of samples so far, the mean, and what rounding has cut off the mean, packed in one row.  The mean moves by
the block's difference from it times the block's share, which stays bounded where a running sum grows; with the cut-off part
carried along (Kahan's summation) it stays exact to rounding however many samples there were: after 400,000 single samples the
relative error is 4e-8, without it 3e-5.  In float32 the count stops at 2^24 samples when it advances by one; from there on the
mean forgets exponentially with that length.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, fx

from ssm2edge.export.streaming.pooled import Pooled, pooled_over_time
from ssm2edge.export.streaming.rounding import rounded
from ssm2edge.export.streaming.steps import BlockStep, StateSpec, state_name
from ssm2edge.export.streaming.walk import Walk
from ssm2edge.traced.nodes import argument_of, aten, operator_name

OFTEN_ZERO = frozenset({"clamp", "clamp_min", "masked_fill", "mul", "relu", "relu6", "where"})
"""Operators whose values may be exactly zero for long, as behind a mask: means of other values do not fade."""


class RunningMeanRule:
    """``mean(x, dims)`` where dims hold the time axis and not the batch; state ``(batch, 1 + 2 x size of the mean)``."""

    def accept(self, node: fx.Node, walk: Walk) -> BlockStep | None:
        """Accept means over time of a value whose other sizes are fixed."""
        pooled = _pooled(node, walk)
        if pooled is None:
            return None
        width, fades = pooled.width, operator_name(cast(fx.Node, node.args[0])) in OFTEN_ZERO

        def compute(args: tuple[object, ...], kwargs: dict[str, object], state: Tensor | None) -> tuple[object, Tensor | None]:
            block = cast(Tensor, args[0])
            assert state is not None
            here = block.mean(pooled.axes).reshape(-1, width)
            samples = float(block.shape[pooled.time])
            count, before, cut_off = state[:, :1] + samples, state[:, 1 : 1 + width], state[:, 1 + width :]
            step = (here.to(state.dtype) - before) * (samples / count) + cut_off
            mean = before + step
            after = torch.cat((count, mean, step - (mean - before)), dim=1)
            return pooled.shaped(mean.to(block.dtype)), rounded(after) if fades else after

        return BlockStep(compute, StateSpec(state_name(node, "mean"), (1 + 2 * width,)), final=True, delays=pooled.delays)


def _pooled(node: fx.Node, walk: Walk) -> Pooled | None:
    if node.target is aten.mean.dim:
        return pooled_over_time(node, node.args[1], argument_of(node, 2, "keepdim", False), walk)
    if node.target is aten.adaptive_avg_pool1d.default and node.args[1] == [1]:
        return pooled_over_time(node, -1, True, walk)
    return None
