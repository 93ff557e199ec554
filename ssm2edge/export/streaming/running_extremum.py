"""Rule: the maximum or minimum over time becomes a running one; state ``(batch, 1 + size of the value)``.

The first number of the state says whether there was a sample yet, so that the state can start from zeros.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, fx

from ssm2edge.export.streaming.pooled import Pooled, pooled_over_time
from ssm2edge.export.streaming.rounding import rounded
from ssm2edge.export.streaming.steps import BlockStep, StateSpec, state_name
from ssm2edge.export.streaming.walk import Walk
from ssm2edge.traced.nodes import argument_of, aten

LARGER = (torch.amax, torch.maximum, "max")
SMALLER = (torch.amin, torch.minimum, "min")
EXTREMA: dict[object, tuple[Callable[..., Tensor], Callable[[Tensor, Tensor], Tensor], str]] = {
    aten.amax.default: LARGER,
    aten.amin.default: SMALLER,
    aten.max.dim: LARGER,
    aten.min.dim: SMALLER,
    aten.adaptive_max_pool1d.default: LARGER,
}
"""For each operator: over axes, of two, and its name in the state's."""


class RunningExtremumRule:
    """``amax``, ``amin``, and the values (not the places) of ``max`` and ``min``, over time and not over the batch."""

    def accept(self, node: fx.Node, walk: Walk) -> BlockStep | None:
        """Accept extrema over time of a value whose other sizes are fixed."""
        pooled = _pooled(node, walk)
        if pooled is None:
            return None
        over, of_two, name = EXTREMA[node.target]
        alone, width = isinstance(node.meta["val"], Tensor), pooled.width

        def compute(args: tuple[object, ...], kwargs: dict[str, object], state: Tensor | None) -> tuple[object, Tensor | None]:
            block = cast(Tensor, args[0])
            assert state is not None
            here = over(block, pooled.axes).reshape(-1, width)
            begun, before = state[:, :1], state[:, 1:]
            found = torch.where(begun > 0, of_two(before, here.to(state.dtype)), here.to(state.dtype))
            value = pooled.shaped(found.to(block.dtype))
            return (value if alone else (value, None)), torch.cat((torch.ones_like(begun), rounded(found)), dim=1)

        return BlockStep(compute, StateSpec(state_name(node, name), (1 + width,)), final=True, delays=pooled.delays)


def _pooled(node: fx.Node, walk: Walk) -> Pooled | None:
    if node.target not in EXTREMA:
        return None
    if not isinstance(node.meta["val"], Tensor) and any(user.users for user in node.users if user.args[1] != 0):
        return None
    if node.target is aten.adaptive_max_pool1d.default:
        return pooled_over_time(node, -1, True, walk) if node.args[1] == [1] else None
    return pooled_over_time(node, argument_of(node, 1, "dim"), argument_of(node, 2, "keepdim", False), walk)
