"""The operators of SISO banks as ONNX nodes, and the functions these stand for."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ssm2edge.export.passes.joint_states import JointOperators
from ssm2edge.layers import operators
from ssm2edge.lowering.choice import parse_choice
from ssm2edge.lowering.functions import DOMAIN
from ssm2edge.lowering.plan import TYPICAL_LENGTH, Plan, plan_block, plan_sequence
from ssm2edge.lowering.siso_bank import sequence_function
from ssm2edge.lowering.siso_block import arrivals_function, chunk_function, outputs_function, states_function

KINDS: dict[str, Callable[[Plan, str], str]] = {
    "Sequence": sequence_function,
    "Block": chunk_function,
    "States": states_function,
    "Outputs": outputs_function,
    "Arrivals": arrivals_function,
}


class SisoNodes:
    """Rewrites each operator as nodes of our domain, and notes the functions that the nodes stand for.

    Parameters
    ----------
    functions
        Texts by name, to which those of the nodes are added.
    length
        Samples of the sequences that forms are chosen for.

    Attributes
    ----------
    states
        The plans of the nodes that compute what states decide by themselves, by operator.
    """

    def __init__(self, functions: dict[str, str], length: int = TYPICAL_LENGTH) -> None:
        self._functions = functions
        self._length = length
        self.states: dict[str, Plan] = {}

    def operator(self, kind: str, plan: Plan) -> str:
        """Name of the operator of a plan; its function is noted."""
        name = f"SisoBank{kind}_{plan.channels}x{plan.order}_{plan.form}{plan.block}"
        self._functions[name] = KINDS[kind](plan, name)
        return name

    def states_operator(self, plan: Plan) -> str:
        """Name of the operator that computes what states decide by themselves."""
        name = self.operator("States", plan)
        self.states[name] = plan
        return name

    def joint(self, plan: Plan) -> JointOperators:
        """The operators of a bank that joins several."""
        return JointOperators(self.operator("States", plan), self.operator("Arrivals", plan))

    def decompositions(self) -> dict[object, object]:
        """By operator, what stands in its place in the exported program."""
        return {operators.siso_bank._opoverload: self._sequence, operators.siso_bank_block._opoverload: self._block}

    def _sequence(self, u: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor, form: str = "") -> Tensor:
        channels, order = a.shape
        name = self.operator("Sequence", plan_sequence(channels, order, parse_choice(form), self._length))
        samples = u.transpose(-1, -2)
        return _nodes(name, (samples, a, b, c, d), samples)[0].transpose(-1, -2)

    def _block(self, u: Tensor, state: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor, form: str = "") -> tuple[Tensor, ...]:
        channels, order = a.shape
        plan, constants = plan_block(channels, order, int(u.shape[-1]), parse_choice(form)), (a, b, c, d)
        if plan.form == "recurrent":
            y, following = self._in_parts(plan, u.squeeze(-1), state, constants)
            return y.unsqueeze(-1), following
        outputs = []
        if plan.form == "chunked":
            for samples in torch.split(u, plan.block, dim=-1):
                y, state = _nodes(self.operator("Block", plan), (samples, state, *constants), samples, state)
                outputs.append(y)
            return torch.cat(outputs, dim=-1), state
        for samples in torch.split(u.transpose(-1, -2), plan.block, dim=1):
            y, state = self._in_parts(plan, samples, state, constants)
            outputs.append(y)
        return torch.cat(outputs, dim=1).transpose(-1, -2), state

    def _in_parts(self, plan: Plan, samples: Tensor, state: Tensor, constants: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Outputs and next states of samples (batch, channels) or (batch, T, channels)."""
        moved, seen = _nodes(self.states_operator(plan), (state, *constants), state, samples)
        (y,) = _nodes(self.operator("Outputs", plan), (samples, seen, *constants), samples)
        (following,) = _nodes(self.operator("Arrivals", plan), (samples, moved, *constants), state)
        return y, following


def _nodes(name: str, inputs: tuple[Tensor, ...], *like: Tensor) -> tuple[Tensor, ...]:
    """One node whose outputs have the shapes and types of other values."""
    outputs = torch.onnx.ops.symbolic_multi_out(
        f"{DOMAIN}::{name}", inputs, dtypes=tuple(x.dtype for x in like), shapes=tuple(x.shape for x in like), version=1
    )
    return tuple(outputs)
