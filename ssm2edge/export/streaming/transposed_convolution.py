"""Rule: transposed convolutions, which raise the rate; samples whose outputs reach into the next block are kept."""

from __future__ import annotations

from typing import cast

from torch import Tensor, fx

from ssm2edge.export.streaming.lookback import lookback
from ssm2edge.export.streaming.steps import BlockStep
from ssm2edge.export.streaming.walk import Walk
from ssm2edge.traced.nodes import argument_of, aten, traced_value


class TransposedConvolutionRule:
    """``conv_transpose1d(x, weight, bias, stride, padding, output_padding, groups, dilation)``.

    Sample i adds to outputs ``s i - padding`` to ``s i - padding + K - 1``, so that the first ``s h - padding`` outputs are known
    once h samples are.
    """

    def accept(self, node: fx.Node, walk: Walk) -> BlockStep | None:
        """Accept those whose weights do not depend on the input."""
        if node.target is not aten.conv_transpose1d.default or walk.timed(node) != [node.args[0]]:
            return None
        x, weight = node.args[0], traced_value(node.args[1])
        assert isinstance(x, fx.Node)
        assert isinstance(weight, Tensor)
        line, after = walk.timeline(x), walk.timeline(node)
        (stride,), (padding,), (extra,) = (
            cast("list[int]", argument_of(node, 3 + k, name, default))
            for k, (name, default) in enumerate((("stride", [1]), ("padding", [0]), ("output_padding", [0])))
        )
        groups = cast(int, argument_of(node, 6, "groups", 1))
        (dilation,) = cast("list[int]", argument_of(node, 7, "dilation", [1]))
        if line is None or after is None or line.axis != 2 or after.rate != stride * line.rate or extra or walk.ahead(x) < 0:
            return None
        span = (int(weight.shape[-1]) - 1) * dilation + 1
        # Outputs of a block get parts of this many samples before it.
        earlier = max(0, -(-(span - stride) // stride))
        # The last outputs get no part of a sample behind the end, also where such samples are known already.
        given, delays = walk.without_end(x) if earlier else (walk.ahead(x), {})
        buffer = lookback(x, earlier, walk, given) if earlier else None
        if earlier and buffer is None:
            return None

        def compute(args: tuple[object, ...], kwargs: dict[str, object], state: Tensor | None) -> tuple[object, Tensor | None]:
            samples = cast(Tensor, args[0])
            bias = cast("Tensor | None", args[2] if len(args) > 2 else kwargs.get("bias"))
            length, following = stride * samples.shape[2], None
            if buffer is not None:
                assert state is not None
                samples, following = buffer.extend(samples, state)
            whole = aten.conv_transpose1d.default(samples, args[1], bias, [stride], [0], [0], groups, [dilation])
            if span < stride:
                # The last outputs get no part of any sample.
                whole = aten.conv_transpose1d.default(samples, args[1], bias, [stride], [0], [stride - span], groups, [dilation])
            return whole.narrow(2, stride * earlier, length), following

        return BlockStep(compute, None if buffer is None else buffer.state(node, ""), stride * given - padding, delays=delays)
