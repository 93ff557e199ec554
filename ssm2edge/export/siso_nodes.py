"""The operators of SISO banks as ONNX nodes, and the kernels that take their place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import onnx_ir as ir
import torch
from torch import Tensor

from ssm2edge.export.ownership import as_node
from ssm2edge.export.passes.join_states import JointOperators
from ssm2edge.layers import operators
from ssm2edge.lowering import siso_bank, siso_block
from ssm2edge.lowering.building import Kernel
from ssm2edge.lowering.choice import parse_choice
from ssm2edge.lowering.plan import TYPICAL_LENGTH, Plan, plan_block, plan_sequence

KINDS: Mapping[str, Callable[..., Sequence[ir.Value]]] = {
    "Sequence": siso_bank.sequence,
    "States": siso_block.states,
    "Outputs": siso_block.outputs,
    "Arrivals": siso_block.arrivals,
}


class SisoNodes:
    """Rewrite each operator as nodes of our domain, and note the kernels that the nodes stand for.

    Parameters
    ----------
    kernels
        By operator, to which those of the nodes are added.
    length
        Samples of the sequences that forms are chosen for.

    Attributes
    ----------
    states
        The plans of the nodes that compute what states decide by themselves, by operator.
    """

    def __init__(self, kernels: dict[str, Kernel], length: int = TYPICAL_LENGTH) -> None:
        self._kernels = kernels
        self._length = length
        self.states: dict[str, Plan] = {}

    def operator(self, kind: str, plan: Plan) -> str:
        """Return the name of a plan's operator, and note its kernel."""
        name = f"SisoBank{kind}_{plan.channels}x{plan.order}_{plan.form}{plan.block}"
        build = KINDS[kind]
        self._kernels[name] = lambda op, *inputs: build(op, plan, *inputs)
        return name

    def states_operator(self, plan: Plan) -> str:
        """Return the name of the operator that computes what states decide by themselves."""
        name = self.operator("States", plan)
        self.states[name] = plan
        return name

    def joint(self, plan: Plan) -> JointOperators:
        """Return the operators of a bank that joins several."""
        return JointOperators(self.operator("States", plan), self.operator("Arrivals", plan))

    def decompositions(self) -> dict[object, object]:
        """Return what stands in each operator's place in the exported program."""
        return {operators.siso_bank._opoverload: self._sequence, operators.siso_bank_block._opoverload: self._block}

    def _sequence(self, u: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor, form: str = "", layer: str = "") -> Tensor:
        channels, order = a.shape
        name = self.operator("Sequence", plan_sequence(channels, order, parse_choice(form), self._length))
        samples = u.transpose(-1, -2)
        return as_node(name, layer, (samples, a, b, c, d), samples)[0].transpose(-1, -2)

    def _block(
        self, u: Tensor, state: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor, form: str = "", layer: str = ""
    ) -> tuple[Tensor, ...]:
        (channels, order), block = a.shape, int(u.shape[-1])
        plan, constants = plan_block(channels, order, block, parse_choice(form)), (a, b, c, d)
        if plan.form == "recurrent":
            y, following = self._in_parts(plan, layer, u.squeeze(-1), state, constants)
            return y.unsqueeze(-1), following
        if plan.form == "chunked":
            return as_node(self._chunks(plan, block // plan.block), layer, (u, state, *constants), u, state)
        by_time, outputs = u.transpose(-1, -2), []
        for samples in torch.split(by_time, plan.block, dim=1) if block > plan.block else (by_time,):
            y, state = self._in_parts(plan, layer, samples, state, constants)
            outputs.append(y)
        return (torch.cat(outputs, dim=1) if len(outputs) > 1 else outputs[0]).transpose(-1, -2), state

    def _chunks(self, plan: Plan, count: int) -> str:
        """Return the name of the operator that computes a block of so many chunks, and note its kernel."""
        name = f"SisoBankBlock_{plan.channels}x{plan.order}_{count}x{plan.block}"
        kernel = partial(siso_block.chunk, count=count)
        self._kernels[name] = lambda op, *inputs: kernel(op, plan, *inputs)
        return name

    def _in_parts(
        self, plan: Plan, layer: str, samples: Tensor, state: Tensor, constants: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        """Return outputs and next states of samples (batch, channels) or (batch, T, channels)."""
        moved, seen = as_node(self.states_operator(plan), layer, (state, *constants), state, samples)
        (y,) = as_node(self.operator("Outputs", plan), layer, (samples, seen, *constants), samples)
        (following,) = as_node(self.operator("Arrivals", plan), layer, (samples, moved, *constants), state)
        return y, following
