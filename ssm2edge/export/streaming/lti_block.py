"""Rule: our LTI operators carry their states from block to block."""

from __future__ import annotations

from typing import cast

from torch import Tensor, fx

from ssm2edge.export.program import TracedModel
from ssm2edge.export.streaming.contract import BlockStep, StateSpec, module_name, traced_value
from ssm2edge.layers import operators

BLOCK_SUFFIX = "block"
"""Attribute under which a rebuilt layer holds its block; a state is named after the layer."""


class LtiBlockRule:
    """Exchange the whole-sequence operator of a bank for its block operator; state ``(batch, order, channels)``."""

    def accept(self, node: fx.Node, traced: TracedModel) -> BlockStep | None:
        """Accept calls of ``siso_bank`` on values whose first axis is the batch and whose last is time."""
        if node.target is not operators.siso_bank._opoverload:
            return None
        u, coefficients = traced_value(node.args[0]), traced_value(node.args[1])
        assert isinstance(u, Tensor)
        assert isinstance(coefficients, Tensor)
        if traced.time_axes(u) != (u.ndim - 1,) or not traced.batch_first(u):
            return None
        channels, order = coefficients.shape

        def compute(args: tuple[object, ...], kwargs: dict[str, object], state: Tensor | None) -> tuple[object, Tensor | None]:
            u, *constants = cast("tuple[Tensor, ...]", args)
            assert state is not None
            y, following = operators.siso_bank_block(u, state, *constants)
            return y, following

        name = module_name(node).removesuffix(BLOCK_SUFFIX).removesuffix(".") or node.name
        return BlockStep(compute, StateSpec(name, (int(order), int(channels))))
