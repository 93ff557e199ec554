"""Rule: the sum over time becomes a running sum; state ``(batch, 2 x size of the sum)``, see ``compensated.py``."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, fx

from ssm2edge.export.streaming.compensated import added
from ssm2edge.export.streaming.pooled import pooled_over_time
from ssm2edge.export.streaming.steps import BlockStep, StateSpec, state_name
from ssm2edge.export.streaming.walk import Walk
from ssm2edge.traced.nodes import argument_of, aten


class RunningSumRule:
    """``sum(x, dims)`` where dims hold the time axis and not the batch; counts are exact up to 2^24 and beyond."""

    def accept(self, node: fx.Node, walk: Walk) -> BlockStep | None:
        """Accept sums over time of a value whose other sizes are fixed."""
        if node.target is not aten.sum.dim_IntList:
            return None
        pooled = pooled_over_time(node, node.args[1], argument_of(node, 2, "keepdim", False), walk)
        if pooled is None:
            return None
        width, dtype = pooled.width, node.meta["val"].dtype

        def compute(args: tuple[object, ...], kwargs: dict[str, object], state: Tensor | None) -> tuple[object, Tensor | None]:
            assert state is not None
            here = cast(Tensor, args[0]).sum(pooled.axes).reshape(-1, width).to(state.dtype)
            total, cut_off = added(state[:, :width], state[:, width:], here)
            value = total.to(dtype) if dtype.is_floating_point else total.to(dtype) + cut_off.to(dtype)
            return pooled.shaped(value), torch.cat((total, cut_off), dim=1)

        return BlockStep(compute, StateSpec(state_name(node, "sum"), (2 * width,)), final=True, delays=pooled.delays)
