"""The MIMO operators as ONNX nodes, and the kernels that take their place."""

from __future__ import annotations

from torch import Tensor

from ssm2edge.export.ownership import as_node
from ssm2edge.layers.mimo_operators import mimo, mimo_block
from ssm2edge.lowering import mimo as kernel
from ssm2edge.lowering.building import Kernel
from ssm2edge.lowering.choice import parse_choice
from ssm2edge.lowering.mimo_plan import MimoPlan, feedthrough_of, plan_mimo_block, plan_mimo_sequence
from ssm2edge.lowering.plan import TYPICAL_LENGTH


def mimo_decompositions(kernels: dict[str, Kernel], length: int = TYPICAL_LENGTH) -> dict[object, object]:
    """Rewrite each operator as one node of our domain, and note the kernel the node stands for."""

    def sequence(
        u: Tensor, a: Tensor, b: Tensor, B: Tensor, C: Tensor, D: Tensor | None, V: Tensor | None, W: Tensor | None,
        form: str = "", layer: str = "",
    ) -> Tensor:  # fmt: skip
        plan = plan_mimo_sequence(*_sizes(B, C, V), parse_choice(form), feedthrough_of(D), length)
        name = _operator("Sequence", plan)
        kernels[name] = lambda op, *inputs: kernel.sequence(op, plan, *inputs)
        return as_node(name, layer, (u, a, b, B, C, *_present(D, V, W)), _outputs(u, plan))[0]

    def block(
        u: Tensor, state: Tensor, a: Tensor, b: Tensor, B: Tensor, C: Tensor, D: Tensor | None, V: Tensor | None,
        W: Tensor | None, form: str = "", layer: str = "",
    ) -> tuple[Tensor, ...]:  # fmt: skip
        plan = plan_mimo_block(*_sizes(B, C, V), int(u.shape[1]), parse_choice(form), feedthrough_of(D))
        name = _operator("Block", plan)
        kernels[name] = lambda op, *inputs: kernel.block(op, plan, *inputs)
        return as_node(name, layer, (u, state, a, b, B, C, *_present(D, V, W)), _outputs(u, plan), state)

    return {mimo._opoverload: sequence, mimo_block._opoverload: block}


def _outputs(u: Tensor, plan: MimoPlan) -> Tensor:
    """Return a value of the outputs' shape."""
    return u.new_empty(u.shape[0], u.shape[1], plan.outputs)


def _sizes(B: Tensor, C: Tensor, V: Tensor | None) -> tuple[int, int, int, int]:
    """Return inputs, order, outputs and squares."""
    return int(B.shape[1]), int(B.shape[0]), int(C.shape[0]), 0 if V is None else int(V.shape[0])


def _present(D: Tensor | None, V: Tensor | None, W: Tensor | None) -> tuple[Tensor, ...]:
    """Return the feedthrough, if there is one, and the quadratic part, if it has any squares."""
    quadratic = () if V is None or W is None or len(V) == 0 else (V, W)
    return quadratic if D is None else (D, *quadratic)


def _operator(kind: str, plan: MimoPlan) -> str:
    squares = f"_{plan.squares}squares" if plan.squares else ""
    through = "" if plan.feedthrough == "full" else f"_{plan.feedthrough}"
    return f"Mimo{kind}_{plan.inputs}x{plan.order}x{plan.outputs}{squares}{through}_{plan.form}{plan.block}"
