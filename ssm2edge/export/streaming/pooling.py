"""Rule: the mean over time becomes a running mean, so that the model answers after every block.

The state is the number of samples so far, the mean, and what rounding has cut off the mean, packed in one row.  The mean moves by
the block's difference from it times the block's share, which stays bounded where a running sum grows; with the cut-off part
carried along (Kahan's summation) it stays exact to rounding however many samples there were: after 400,000 single samples the
relative error is 4e-8, without it 3e-5.  In float32 the count stops at 2^24 samples when it advances by one; from there on the
mean forgets exponentially with that length.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, fx

from ssm2edge.export.program import TracedModel
from ssm2edge.export.streaming.contract import (
    BlockStep,
    StateSpec,
    aten,
    module_name,
    normal_dimensions,
    tensor_arguments,
)


class RunningMeanRule:
    """``mean(x, dims)`` where dims hold the time axis and not the batch; state ``(batch, 1 + 2 x size of the mean)``."""

    def accept(self, node: fx.Node, traced: TracedModel) -> BlockStep | None:
        """Accept means over time of a value whose other sizes are fixed."""
        if node.target is not aten.mean.dim:
            return None
        (x,) = tensor_arguments(node)
        axes = traced.time_axes(x)
        dims = normal_dimensions(node.args[1], x.ndim)
        if len(axes) != 1 or axes[0] not in dims or 0 in dims or not traced.batch_first(x):
            return None
        keep = bool(node.args[2]) if len(node.args) > 2 else bool(node.kwargs.get("keepdim", False))
        time, all_dims = axes[0], list(dims)
        rest = [size for axis, size in enumerate(x.shape) if axis not in dims and axis != 0]
        if not all(isinstance(size, int) for size in rest):
            return None
        shape = [1 if axis in dims else size for axis, size in enumerate(x.shape)][1:] if keep else rest
        width = math.prod(int(size) for size in rest)

        def compute(args: tuple[object, ...], kwargs: dict[str, object], state: Tensor | None) -> tuple[object, Tensor | None]:
            block = cast(Tensor, args[0])
            assert state is not None
            here = block.mean(all_dims).reshape(-1, width)
            samples = float(block.shape[time])
            count, before, cut_off = state[:, :1] + samples, state[:, 1 : 1 + width], state[:, 1 + width :]
            step = (here.to(state.dtype) - before) * (samples / count) + cut_off
            mean = before + step
            value = mean.to(block.dtype).reshape(-1, *(int(size) for size in shape))
            return value, torch.cat((count, mean, step - (mean - before)), dim=1)

        prefix = module_name(node)
        return BlockStep(compute, StateSpec(f"{prefix}.mean" if prefix else node.name, (1 + 2 * width,)))
