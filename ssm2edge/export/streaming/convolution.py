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


class ConvolutionRule:
    """``conv1d(x, weight, bias, stride, padding, dilation, groups)`` with x ``(batch, channels, time)``."""

    def accept(self, node: fx.Node, walk: Walk) -> BlockStep | None:
        """Accept convolutions whose weights do not depend on the input."""
        if node.target not in (aten.conv1d.default, aten.conv1d.padding) or walk.timed(node) != [node.args[0]]:
            return None
        x, weight = node.args[0], traced_value(node.args[1])
        assert isinstance(x, fx.Node)
        line = walk.timeline(x)
        if line is None or line.axis != 2 or not isinstance(weight, Tensor):
            return None
        (stride,), (dilation,) = _sizes(argument_of(node, 3, "stride", [1])), _sizes(argument_of(node, 5, "dilation", [1]))
        groups = cast(int, argument_of(node, 6, "groups", 1))
        span = (int(weight.shape[-1]) - 1) * dilation + 1
        given = argument_of(node, 4, "padding", [0])
        if isinstance(given, str):
            # As torch does it, the odd one of an odd number of zeros goes to the right.
            padding = (span - 1) // 2 if given == "same" else 0
        else:
            (padding,) = _sizes(given)

        def convolve(samples: Tensor, args: tuple[object, ...], kwargs: dict[str, object]) -> Tensor:
            weights = cast(Tensor, args[1])
            bias = cast("Tensor | None", args[2] if len(args) > 2 else kwargs.get("bias"))
            y: Tensor = aten.conv1d.default(samples, weights, bias, [stride], [0], [dilation], groups)
            return y

        return windowed(node, x, walk, span, stride, padding, convolve, "")


def _sizes(value: object) -> Sequence[int]:
    """One number or a list of one as a list; lists of several belong to other operators."""
    return [value] if isinstance(value, int) else cast("Sequence[int]", value)
