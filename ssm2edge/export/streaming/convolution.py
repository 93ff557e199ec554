"""Rule: convolutions over time keep the samples that the next outputs still need.

Dilated, strided, grouped and depthwise ones alike, whether the padding is their own, an operation before them, or cut off behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor, fx

from ssm2edge.export.streaming.steps import BlockStep
from ssm2edge.export.streaming.walk import Walk
from ssm2edge.export.streaming.windows import windowed
from ssm2edge.traced.nodes import argument_of, aten, traced_value

CONVOLUTIONS = {
    aten.conv1d.default: aten.conv1d.default,
    aten.conv1d.padding: aten.conv1d.default,
    aten.conv2d.default: aten.conv2d.default,
    aten.conv2d.padding: aten.conv2d.default,
    aten.conv3d.default: aten.conv3d.default,
    aten.conv3d.padding: aten.conv3d.default,
}
"""Operators, and those that take their padding as numbers."""


class ConvolutionRule:
    """``conv1d(x, weight, bias, stride, padding, dilation, groups)`` with x ``(batch, channels, time)``; over more axes alike."""

    def accept(self, node: fx.Node, walk: Walk) -> BlockStep | None:
        """Accept convolutions whose weights do not depend on the input."""
        if node.target not in CONVOLUTIONS or walk.timed(node) != [node.args[0]]:
            return None
        x, weight, operator = node.args[0], traced_value(node.args[1]), CONVOLUTIONS[node.target]
        assert isinstance(x, fx.Node)
        line = walk.timeline(x)
        if line is None or line.axis < 2 or not isinstance(weight, Tensor) or x.meta["val"].ndim != weight.ndim:
            return None
        axes, time = weight.ndim - 2, line.axis - 2
        strides, dilations = (_sizes(argument_of(node, *place, 1), axes) for place in ((3, "stride"), (5, "dilation")))
        groups = cast(int, argument_of(node, 6, "groups", 1))
        spans = [(int(size) - 1) * dilation + 1 for size, dilation in zip(weight.shape[2:], dilations, strict=True)]
        given = argument_of(node, 4, "padding", 0)
        if isinstance(given, str):
            # As torch does it, the odd one of an odd number of zeros goes to the right.
            padding = [(span - 1) // 2 if given == "same" else 0 for span in spans]
            if given == "same" and any(span % 2 == 0 for axis, span in enumerate(spans) if axis != time):
                return None
        else:
            padding = _sizes(given, axes)
        others = [0 if axis == time else zeros for axis, zeros in enumerate(padding)]

        def convolve(samples: Tensor, args: tuple[object, ...], kwargs: dict[str, object]) -> Tensor:
            weights = cast(Tensor, args[1])
            bias = cast("Tensor | None", args[2] if len(args) > 2 else kwargs.get("bias"))
            y: Tensor = operator(samples, weights, bias, strides, others, dilations, groups)
            return y

        return windowed(node, x, walk, spans[time], strides[time], padding[time], convolve, "")


def _sizes(value: object, axes: int) -> list[int]:
    """Return a number for each axis, of a list or of one number for all."""
    numbers = [value] if isinstance(value, int) else list(cast("Sequence[int]", value))
    return numbers * axes if len(numbers) == 1 else numbers
