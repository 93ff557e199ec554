"""What the forms of one system of many inputs and outputs have in common: its matrices in a graph, as lines of text."""

from __future__ import annotations

from ssm2edge.lowering.functions import integers
from ssm2edge.lowering.mimo_plan import MimoPlan
from ssm2edge.systems.real_form import swap_indices


def dense(plan: MimoPlan) -> list[str]:
    """A as a dense float32 matrix: a on the diagonal, b beside it."""
    n = plan.order
    swap = swap_indices(n)
    # In an odd order the last state has no partner: its row of the swapped identity is empty, whatever b says.
    partner = ["1.0" if swap[j] != j else "0.0" for j in range(n)]
    return [
        integers("swap", *swap),
        f"partner = Constant <value = float[{n}] {{{', '.join(partner)}}}> ()",
        integers("square_shape", n, n),
        "square = ConstantOfShape <value = float[1] {0.0}> (square_shape)",
        "eye = EyeLike (square)",
        "swapped = Gather <axis = 0> (eye, swap)",
        integers("columns", 1),
        "b_paired = Mul (b, partner)",
        "a_column = Unsqueeze (a, columns)",
        "b_column = Unsqueeze (b_paired, columns)",
        "diagonal = Mul (eye, a_column)",
        "beside = Mul (swapped, b_column)",
        "A = Add (diagonal, beside)",
    ]


def through(plan: MimoPlan, outputs: str, samples: str, name: str) -> list[str]:
    """Outputs with what the samples add to them directly."""
    if plan.feedthrough == "none":
        return [f"{name} = Identity ({outputs})"]
    if plan.feedthrough == "diagonal":
        return [f"from_samples = Mul ({samples}, D)", f"{name} = Add ({outputs}, from_samples)"]
    product = ["Dt = Transpose <perm = [1, 0]> (D)", f"from_samples = MatMul ({samples}, Dt)"]
    return [*product, f"{name} = Add ({outputs}, from_samples)"]
