"""One sample of one system of many inputs and outputs, as lines of text: matrices side by side, in as few products as serve."""

from __future__ import annotations

from dataclasses import replace

from ssm2edge.lowering.mimo_matrices import dense, integers, through
from ssm2edge.lowering.mimo_plan import MimoPlan


def reading_after(plan: MimoPlan) -> list[str]:
    """The next state (and the squared directions) in one product, then the outputs from it."""
    n, q = plan.order, plan.squares
    lines = [*dense(plan), "At = Transpose <perm = [1, 0]> (A)", "Bt = Transpose <perm = [1, 0]> (B)"]
    if q:
        lines += [
            "Vt = Transpose <perm = [1, 0]> (V)",
            "nothing = Constant <value = float[1] {0.0}> ()",
            integers("no_squares", plan.inputs, q),
            "unseen = Expand (nothing, no_squares)",
            "from_input = Concat <axis = 1> (Bt, unseen)",
            "from_state = Concat <axis = 1> (At, Vt)",
        ]
    else:
        lines += ["from_input = Identity (Bt)", "from_state = Identity (At)"]
    lines += [
        "all = Concat <axis = 0> (from_input, from_state)",
        integers("time_axis", 1),
        "sample = Squeeze (u, time_axis)",
        "both = Concat <axis = 1> (sample, x)",
    ]
    matrices = ["output = Transpose <perm = [1, 0]> (C)"]
    if q:
        lines += [
            "products = MatMul (both, all)",
            f"widths = Constant <value = int64[2] {{{n}, {q}}}> ()",
            "moved, directions = Split <axis = 1> (products, widths)",
            "squares = Mul (directions, directions)",
            "seen_by_outputs = Concat <axis = 1> (moved, squares)",
        ]
        matrices = ["CW = Concat <axis = 1> (C, W)", "output = Transpose <perm = [1, 0]> (CW)"]
    else:
        lines += ["moved = MatMul (both, all)", "seen_by_outputs = Identity (moved)"]
    lines += [*matrices, "from_states = MatMul (seen_by_outputs, output)"]
    return [
        *lines,
        *through(plan, "from_states", "sample", "seen"),
        "lifted = Add (moved, flush)",
        "x_next = Sub (lifted, flush)",
        "y = Unsqueeze (seen, time_axis)",
    ]


def merged(plan: MimoPlan) -> list[str]:
    """Outputs that read the state after the sample, in the one product of those that read it before: small matrices stay so."""
    full = replace(plan, feedthrough="full")
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
    return [*lines, *_one_product(full, "C_before", "D_before")]


def recurrent(plan: MimoPlan) -> list[str]:
    """Outputs that read the state before the sample, in one product."""
    return [*dense(plan), *_one_product(plan, "C", "D")]


def _one_product(plan: MimoPlan, C: str, D: str) -> list[str]:
    """One product of (u, x) with all matrices side by side."""
    n, p, q = plan.order, plan.outputs, plan.squares
    lines = [
        "At = Transpose <perm = [1, 0]> (A)",
        "Bt = Transpose <perm = [1, 0]> (B)",
        f"Ct = Transpose <perm = [1, 0]> ({C})",
        f"Dt = Transpose <perm = [1, 0]> ({D})",
    ]
    if q:
        lines += [
            "Vt = Transpose <perm = [1, 0]> (V)",
            "Wt = Transpose <perm = [1, 0]> (W)",
            "nothing = Constant <value = float[1] {0.0}> ()",
            integers("no_squares", plan.inputs, q),
            "unseen = Expand (nothing, no_squares)",
            "from_input = Concat <axis = 1> (Bt, Dt, unseen)",
            "from_state = Concat <axis = 1> (At, Ct, Vt)",
        ]
    else:
        lines += ["from_input = Concat <axis = 1> (Bt, Dt)", "from_state = Concat <axis = 1> (At, Ct)"]
    lines += [
        "all = Concat <axis = 0> (from_input, from_state)",
        integers("time_axis", 1),
        "sample = Squeeze (u, time_axis)",
        "both = Concat <axis = 1> (sample, x)",
        "products = MatMul (both, all)",
    ]
    if q:
        lines += [
            f"widths = Constant <value = int64[3] {{{n}, {p}, {q}}}> ()",
            "moved, linear, directions = Split <axis = 1> (products, widths)",
            "squares = Mul (directions, directions)",
            "quadratic = MatMul (squares, Wt)",
            "seen = Add (linear, quadratic)",
        ]
    else:
        lines += [f"widths = Constant <value = int64[2] {{{n}, {p}}}> ()", "moved, seen = Split <axis = 1> (products, widths)"]
    return [
        *lines,
        "lifted = Add (moved, flush)",
        "x_next = Sub (lifted, flush)",
        "y = Unsqueeze (seen, time_axis)",
    ]
