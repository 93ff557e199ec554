"""One sample of one system of many inputs and outputs, as lines of text: matrices side by side, in as few products as serve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ssm2edge.lowering.functions import integers
from ssm2edge.lowering.mimo_matrices import dense, through
from ssm2edge.lowering.mimo_plan import MimoPlan


@dataclass(frozen=True)
class Columns:
    """Columns of the one matrix that multiplies a sample and the state before it.

    Attributes
    ----------
    found
        Name of what they give.
    width
        How many they are.
    input
        Matrix ``(width, inputs)`` that takes the sample; None where it does not count.
    state
        Matrix ``(width, order)`` that takes the state.
    """

    found: str
    width: int
    input: str | None
    state: str


def reading_after(plan: MimoPlan) -> list[str]:
    """The next state (and the squared directions) in one product, then the outputs from it."""
    lines = [*dense(plan), *_one_product(plan, [Columns("moved", plan.order, "B", "A"), *_directions(plan)])]
    if plan.squares:
        lines += [
            "squares = Mul (directions, directions)",
            "seen_by_outputs = Concat <axis = 1> (moved, squares)",
            "CW = Concat <axis = 1> (C, W)",
            "output = Transpose <perm = [1, 0]> (CW)",
        ]
    else:
        lines += ["seen_by_outputs = Identity (moved)", "output = Transpose <perm = [1, 0]> (C)"]
    return [
        *lines,
        "from_states = MatMul (seen_by_outputs, output)",
        *through(plan, "from_states", "sample", "seen"),
        *_answer("seen"),
    ]


def merged(plan: MimoPlan) -> list[str]:
    """Outputs that read the state after the sample, in the one product of those that read it before: small matrices stay so."""
    lines = [
        *dense(plan),
        "A64 = Cast <to = 11> (A)",
        "B64 = Cast <to = 11> (B)",
        "C64 = Cast <to = 11> (C)",
        "CA64 = MatMul (C64, A64)",
        "CB64 = MatMul (C64, B64)",
        "C_before = Cast <to = 1> (CA64)",
    ]
    if plan.feedthrough == "diagonal":
        lines += [
            "D64 = Cast <to = 11> (D)",
            "like_D = EyeLike (CB64)",
            "on_diagonal = Mul (like_D, D64)",
            "through64 = Add (CB64, on_diagonal)",
            "D_before = Cast <to = 1> (through64)",
        ]
    else:
        lines.append("D_before = Cast <to = 1> (CB64)")
    return [*lines, *_reading_before(plan, "C_before", "D_before")]


def recurrent(plan: MimoPlan) -> list[str]:
    """Outputs that read the state before the sample, in one product."""
    return [*dense(plan), *_reading_before(plan, "C", "D")]


def _reading_before(plan: MimoPlan, C: str, D: str) -> list[str]:
    columns = [Columns("moved", plan.order, "B", "A"), Columns("linear", plan.outputs, D, C), *_directions(plan)]
    lines = _one_product(plan, columns)
    if not plan.squares:
        return [*lines, *_answer("linear")]
    return [
        *lines,
        "squares = Mul (directions, directions)",
        "Wt = Transpose <perm = [1, 0]> (W)",
        "quadratic = MatMul (squares, Wt)",
        "seen = Add (linear, quadratic)",
        *_answer("seen"),
    ]


def _directions(plan: MimoPlan) -> list[Columns]:
    """What is squared: directions of the state, if there are any."""
    return [Columns("directions", plan.squares, None, "V")] if plan.squares else []


def _one_product(plan: MimoPlan, columns: Sequence[Columns]) -> list[str]:
    """One product of (u, x) with all matrices side by side, and what its columns give."""
    lines = []
    for part in columns:
        lines.append(f"{part.found}_state = Transpose <perm = [1, 0]> ({part.state})")
        if part.input is not None:
            lines.append(f"{part.found}_input = Transpose <perm = [1, 0]> ({part.input})")
        else:
            lines += [
                integers(f"{part.found}_shape", plan.inputs, part.width),
                f"{part.found}_input = ConstantOfShape <value = float[1] {{0.0}}> ({part.found}_shape)",
            ]
    lines += [
        f"from_input = Concat <axis = 1> ({', '.join(part.found + '_input' for part in columns)})",
        f"from_state = Concat <axis = 1> ({', '.join(part.found + '_state' for part in columns)})",
        "all = Concat <axis = 0> (from_input, from_state)",
        integers("time_axis", 1),
        "sample = Squeeze (u, time_axis)",
        "both = Concat <axis = 1> (sample, x)",
    ]
    if len(columns) == 1:
        return [*lines, f"{columns[0].found} = MatMul (both, all)"]
    return [
        *lines,
        "products = MatMul (both, all)",
        integers("widths", *(part.width for part in columns)),
        f"{', '.join(part.found for part in columns)} = Split <axis = 1> (products, widths)",
    ]


def _answer(outputs: str) -> list[str]:
    """The outputs with their time axis, and the next state, flushed."""
    return ["lifted = Add (moved, flush)", "x_next = Sub (lifted, flush)", f"y = Unsqueeze ({outputs}, time_axis)"]
