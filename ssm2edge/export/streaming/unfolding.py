"""Rule: ``unfold`` along time, which cuts a signal into frames."""

from __future__ import annotations

from torch import Tensor, fx

from ssm2edge.export.streaming.steps import BlockStep
from ssm2edge.export.streaming.walk import Walk
from ssm2edge.export.streaming.windows import windowed
from ssm2edge.traced.nodes import aten, normal_dimensions


class UnfoldingRule:
    """``x.unfold(axis, size, step)``: frames along time, their samples along a new last axis."""

    def accept(self, node: fx.Node, walk: Walk) -> BlockStep | None:
        """Accept frames along time."""
        if node.target is not aten.unfold.default:
            return None
        x, dimension, size, step = node.args
        line = walk.timeline(x)
        assert isinstance(x, fx.Node)
        if line is None or normal_dimensions(dimension, x.meta["val"].ndim) != (line.axis,):
            return None
        assert isinstance(size, int)
        assert isinstance(step, int)
        axis = line.axis

        def unfold(samples: Tensor, args: tuple[object, ...], kwargs: dict[str, object]) -> Tensor:
            return samples.unfold(axis, size, step)

        return windowed(node, x, walk, size, step, 0, unfold, "frames")
