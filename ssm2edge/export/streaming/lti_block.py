"""Rule: our LTI operators carry their states from block to block."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor, fx

from ssm2edge.export.streaming.steps import BlockStep, StateSpec
from ssm2edge.export.streaming.walk import Walk
from ssm2edge.layers import mimo_operators, operators
from ssm2edge.traced.nodes import module_name, traced_value

BLOCK_SUFFIX = "block"
"""Attribute under which a rebuilt layer holds its block; a state is named after the layer."""


@dataclass(frozen=True)
class BlockForm:
    """The computation of an operator block by block.

    Attributes
    ----------
    operator
        Takes the block, the states before it and the constants; gives outputs and the states after it.
    time_from_end
        Position of time in the operator's input, counted from the last axis.
    state_shape
        Shape of the states without the batch, from the shape of the operator's first coefficients.
    """

    operator: Callable[..., tuple[Tensor, Tensor]]
    time_from_end: int
    state_shape: Callable[[tuple[int, ...]], tuple[int, ...]]


BLOCK_FORMS: Mapping[Any, BlockForm] = {
    # Coefficients (channels, order), states (order, channels).
    operators.siso_bank._opoverload: BlockForm(operators.siso_bank_block, 1, lambda shape: shape[::-1]),
    mimo_operators.mimo._opoverload: BlockForm(mimo_operators.mimo_block, 2, lambda shape: shape),
}


class LtiBlockRule:
    """Exchange a whole-sequence operator for its block operator."""

    def accept(self, node: fx.Node, walk: Walk) -> BlockStep | None:
        """Accept calls of our operators on values whose first axis is the batch and whose time axis is the operator's."""
        form = BLOCK_FORMS.get(node.target)
        if form is None:
            return None
        source, coefficients = node.args[0], traced_value(node.args[1])
        assert isinstance(source, fx.Node)
        assert isinstance(coefficients, Tensor)
        line, u = walk.timeline(source), source.meta["val"]
        if line is None or line.axis != u.ndim - form.time_from_end or not walk.traced.batch_first(u):
            return None
        block_operator = form.operator

        def compute(args: tuple[object, ...], kwargs: dict[str, object], state: Tensor | None) -> tuple[object, Tensor | None]:
            u, *constants = cast("tuple[Tensor, ...]", args)
            assert state is not None
            y, following = block_operator(u, state, *constants)
            return y, following

        name = module_name(node).removesuffix(BLOCK_SUFFIX).removesuffix(".") or node.name
        shape = form.state_shape(tuple(int(size) for size in coefficients.shape))
        return BlockStep(compute, StateSpec(name, shape), ahead=0, delays=walk.settled(source))
