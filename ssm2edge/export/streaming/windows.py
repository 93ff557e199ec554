"""Windows over time, sliding or striding: what convolutions, poolings and strided slices have in common.

A window spans K samples and moves by s.  If h samples of its input are known ahead, ``(h - K) // s + 1`` of its values are; the
buffer holds the samples between the first one that the next value needs and the block.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from torch import Tensor, fx

from ssm2edge.export.streaming.lookback import lookback
from ssm2edge.export.streaming.steps import BlockStep
from ssm2edge.export.streaming.walk import Walk

WindowFunction = Callable[[Tensor, tuple[object, ...], dict[str, object]], Tensor]
"""(samples of all windows of the block, args, kwargs of the node) -> the node's value for the block."""


def windowed(
    node: fx.Node, argument: fx.Node, walk: Walk, span: int, stride: int, padding: int, function: WindowFunction, kind: str
) -> BlockStep | None:
    """Step of a node whose every value depends on a window of its argument's samples.

    Parameters
    ----------
    node, argument
        The call, and its first argument, which runs along time.
    span, stride
        Samples from a window's first to its last, and between windows.
    padding
        Zeros in front of the argument's first sample, and behind its last; negative where samples are left out in front.
    function
        Computes the values from the windows alone, without padding.
    kind
        Last part of the state's name.
    """
    before, after = walk.timeline(argument), walk.timeline(node)
    if before is None or after is None or before.rate != stride * after.rate:
        return None
    if padding > 0:
        walk.refuse_behind(node, argument)
    axis = before.axis
    given, delays = walk.without_end(argument) if padding > 0 else (walk.ahead(argument), {})
    known = given + padding
    ahead = (known - span) // stride + 1
    missing = known - stride * ahead
    buffer = None
    if missing > 0:
        buffer = lookback(argument, missing, walk, given)
        if buffer is None:
            return None

    def compute(args: tuple[object, ...], kwargs: dict[str, object], state: Tensor | None) -> tuple[object, Tensor | None]:
        block = cast(Tensor, args[0])
        needed = block.shape[axis] + span - stride
        following = None
        if buffer is None:
            samples = block.narrow(axis, -missing, needed) if needed != block.shape[axis] else block
        else:
            assert state is not None
            samples, following = buffer.extend(block, state)
            if needed != samples.shape[axis]:
                samples = samples.narrow(axis, 0, needed)
        return function(samples, args, kwargs), following

    return BlockStep(compute, None if buffer is None else buffer.state(node, kind), ahead, delays=delays)
