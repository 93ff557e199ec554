"""A value so many samples late, for where it meets values that are less far ahead."""

from __future__ import annotations

from typing import cast

from torch import Tensor, fx

from ssm2edge.export.streaming.lookback import lookback
from ssm2edge.export.streaming.steps import BlockStep
from ssm2edge.export.streaming.walk import Walk, refusal
from ssm2edge.traced.errors import StreamingError


def delayed(node: fx.Node, samples: int, walk: Walk) -> BlockStep:
    """Step that holds a node's value back; its one argument is the value.

    Raises
    ------
    StreamingError
        If the value has sizes that are not fixed, or no batch.
    """
    buffer = lookback(node, samples, walk, walk.ahead(node))
    if buffer is None:
        raise StreamingError(refusal(node, "shifts a value without a batch axis, or of open sizes, along time"))
    axis = buffer.axis

    def compute(args: tuple[object, ...], kwargs: dict[str, object], state: Tensor | None) -> tuple[object, Tensor | None]:
        block = cast(Tensor, args[0])
        assert state is not None
        known, after = buffer.extend(block, state)
        return known.narrow(axis, 0, block.shape[axis]), after

    return BlockStep(compute, buffer.state(node, "delay"), walk.ahead(node) - samples)
