"""The MIMO operators as ONNX nodes, and the functions these stand for."""

from __future__ import annotations

import torch
from torch import Tensor

from ssm2edge.layers.mimo_operators import mimo, mimo_block
from ssm2edge.lowering.choice import parse_choice
from ssm2edge.lowering.functions import DOMAIN
from ssm2edge.lowering.mimo import block_function, sequence_function
from ssm2edge.lowering.mimo_plan import MimoPlan, feedthrough_of, plan_mimo_block, plan_mimo_sequence


def mimo_decompositions(functions: dict[str, str]) -> dict[object, object]:
    """Rewrite each operator as one node of our domain, and note the function text the node stands for."""

    def sequence(
        u: Tensor, a: Tensor, b: Tensor, B: Tensor, C: Tensor, D: Tensor | None, V: Tensor | None, W: Tensor | None,
        form: str = "",
    ) -> Tensor:  # fmt: skip
        plan = plan_mimo_sequence(*_sizes(B, C, V), parse_choice(form), feedthrough_of(D))
        name = _function_name("Sequence", plan)
        functions[name] = sequence_function(plan, name)
        return torch.onnx.ops.symbolic(
            f"{DOMAIN}::{name}",
            (u, a, b, B, C, *_present(D, V, W)),
            dtype=u.dtype,
            shape=(u.shape[0], u.shape[1], plan.outputs),
            version=1,
        )

    def block(
        u: Tensor, state: Tensor, a: Tensor, b: Tensor, B: Tensor, C: Tensor, D: Tensor | None, V: Tensor | None,
        W: Tensor | None, form: str = "",
    ) -> tuple[Tensor, ...]:  # fmt: skip
        plan = plan_mimo_block(*_sizes(B, C, V), int(u.shape[1]), parse_choice(form), feedthrough_of(D))
        name = _function_name("Block", plan)
        functions[name] = block_function(plan, name)
        return tuple(
            torch.onnx.ops.symbolic_multi_out(
                f"{DOMAIN}::{name}",
                (u, state, a, b, B, C, *_present(D, V, W)),
                dtypes=(u.dtype, state.dtype),
                shapes=((u.shape[0], u.shape[1], plan.outputs), state.shape),
                version=1,
            )
        )

    return {mimo._opoverload: sequence, mimo_block._opoverload: block}


def _sizes(B: Tensor, C: Tensor, V: Tensor | None) -> tuple[int, int, int, int]:
    """Inputs, order, outputs and squares."""
    return int(B.shape[1]), int(B.shape[0]), int(C.shape[0]), 0 if V is None else int(V.shape[0])


def _present(D: Tensor | None, V: Tensor | None, W: Tensor | None) -> tuple[Tensor, ...]:
    """The feedthrough, if there is one, and the quadratic part, if it has any squares."""
    quadratic = () if V is None or W is None or len(V) == 0 else (V, W)
    return quadratic if D is None else (D, *quadratic)


def _function_name(kind: str, plan: MimoPlan) -> str:
    squares = f"_{plan.squares}squares" if plan.squares else ""
    through = "" if plan.feedthrough == "full" else f"_{plan.feedthrough}"
    return f"Mimo{kind}_{plan.inputs}x{plan.order}x{plan.outputs}{squares}{through}_{plan.form}{plan.block}"
