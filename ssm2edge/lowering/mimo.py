"""ONNX functions for one system of many inputs and outputs, linear or with quadratic outputs, as text.

    x[k+1] = A x[k] + B u[k]        y[k] = C x[k] + D u[k]  (+ W (V x[k])^2)

A is the 2 x 2 sections of :mod:`ssm2edge.systems.mimo_form`.  Quadratic outputs need every state, so that all forms compute the
states first.  Over chunks of T samples, with x the state before a chunk and v = B u its drive :

    x[i] = A^i x + sum_{j < i} A^(i-1-j) v[j]        i = 0 .. T, the last being the state before the next chunk

which is, section by section, a product with a block-triangular matrix of powers.  The step over the chunks is one ``RNN`` node
with the activation ``Affine``: f(z) = z + 2^-70.  The constant changes nothing a float32 signal could show, and keeps states that
decay from becoming subnormal numbers (5 to 30 times slower on some processors).  States that leave the graph are rounded to
multiples of 2^-94, as in :mod:`ssm2edge.lowering.siso_bank`.

Every constant but the system's own is computed in the graph, in float64 from the float32 poles the recurrence uses, and folded
when the runtime loads it: files stay near the size of the parameters, and all forms are the same system.
"""

from __future__ import annotations

from ssm2edge.lowering.mimo_plan import MimoPlan

DOMAIN = "ssm2edge"
OPSET = 18
FLUSH = "8.470329472543003e-22"
"""2^-70 in decimal digits."""

AFFINE = f'activations = ["Affine"], activation_alpha = [1.0], activation_beta = [{FLUSH}]'


def sequence_function(plan: MimoPlan, name: str) -> str:
    """Text of ``name(u, a, b, B, C, D[, V, W]) => (y)``: whole sequences (batch, time, inputs) from zero states."""
    T, sections = plan.block, _sections(plan)
    lines = [
        *_section_powers(plan),
        *_chunk_constants(plan),
        # Cut time into chunks, the last one filled with zeros; drive of every sample.
        "time = Shape <start = 1, end = 2> (u)",
        "negative = Neg (time)",
        _integers("T1", T),
        "missing = Mod (negative, T1)",
        _integers("before_end", 0, 0, 0, 0),
        _integers("after_end", 0),
        "pads = Concat <axis = 0> (before_end, missing, after_end)",
        "filled = Pad (u, pads)",
        *_padded("Bt", "B", 0, plan),
        "drive = MatMul (filled, Bt)",
        # (batch, chunks, T, sections, 2) -> (sections, chunks, batch, 2 T)
        "batch1 = Shape <start = 0, end = 1> (u)",
        _integers("chunk_shape", -1, T, sections, 2),
        "split_shape = Concat <axis = 0> (batch1, chunk_shape)",
        "split = Reshape (drive, split_shape)",
        "by_section = Transpose <perm = [3, 1, 0, 2, 4]> (split)",
        _integers("rows_front", sections, -1),
        _integers("rows_back", 2 * T),
        "rows_shape = Concat <axis = 0> (rows_front, batch1, rows_back)",
        "rows = Reshape (by_section, rows_shape)",
        # States within each chunk from zero, and what each chunk adds to the next one's state.
        "inner = MatMul (rows, triangle)",
        f"lengths = Constant <value = int64[2] {{{2 * T}, 2}}> ()",
        "from_zero, added = Split <axis = -1> (inner, lengths)",
        # (sections, chunks, batch, 2) -> (chunks, batch, states)
        "added_first = Transpose <perm = [1, 2, 0, 3]> (added)",
        _integers("keep_two", 0, 0, -1),
        "pushes = Reshape (added_first, keep_two)",
        f"after, final = RNN <hidden_size = {2 * sections}, {AFFINE}> (pushes, identity, leap)",
        _integers("directions", 1),
        "after3 = Squeeze (after, directions)",
        _integers("zero1", 0),
        _integers("minus1", -1),
        "known = Slice (after3, zero1, minus1, zero1)",
        _integers("one_before", 1, 0, 0, 0, 0, 0),
        "starts = Pad (known, one_before)",
        _integers("start_shape", 0, 0, sections, 2),
        "starts4 = Reshape (starts, start_shape)",
        "starts_by_section = Transpose <perm = [2, 0, 1, 3]> (starts4)",
        "carried = MatMul (starts_by_section, outward)",
        "states_rows = Add (from_zero, carried)",
        # (sections, chunks, batch, T, 2) -> (batch, time, states)
        _integers("state_shape", 0, 0, 0, T, 2),
        "states5 = Reshape (states_rows, state_shape)",
        "states_first = Transpose <perm = [2, 1, 3, 0, 4]> (states5)",
        _integers("long_tail", -1, 2 * sections),
        "long_shape = Concat <axis = 0> (batch1, long_tail)",
        "long = Reshape (states_first, long_shape)",
        "x = Slice (long, zero1, time, one1)",
        *_padded("Ct", "C", 1, plan),
        *(_padded("Vt", "V", 1, plan) if plan.squares else []),
        *_outputs(plan, "x", "u"),
    ]
    return _function(name, plan, "u", "y", lines)


def block_function(plan: MimoPlan, name: str) -> str:
    """Text of ``name(u, x, a, b, B, C, D[, V, W]) => (y, x_next)``: one block (batch, T, inputs), states (batch, order)."""
    lines = [
        *_dense(plan),
        f"flush = Constant <value = float[1] {{{FLUSH}}}> ()",
        *(_recurrent(plan) if plan.form == "recurrent" else _unrolled(plan)),
    ]
    return _function(name, plan, "u, x", "y, x_next", lines)


def _recurrent(plan: MimoPlan) -> list[str]:
    """One product of (u, x) with all matrices side by side."""
    n, p, q = plan.order, plan.outputs, plan.squares
    lines = [
        "At = Transpose <perm = [1, 0]> (A)",
        "Bt = Transpose <perm = [1, 0]> (B)",
        "Ct = Transpose <perm = [1, 0]> (C)",
        "Dt = Transpose <perm = [1, 0]> (D)",
    ]
    if q:
        lines += [
            "Vt = Transpose <perm = [1, 0]> (V)",
            "Wt = Transpose <perm = [1, 0]> (W)",
            "nothing = Constant <value = float[1] {0.0}> ()",
            _integers("no_squares", plan.inputs, q),
            "unseen = Expand (nothing, no_squares)",
            "from_input = Concat <axis = 1> (Bt, Dt, unseen)",
            "from_state = Concat <axis = 1> (At, Ct, Vt)",
        ]
    else:
        lines += ["from_input = Concat <axis = 1> (Bt, Dt)", "from_state = Concat <axis = 1> (At, Ct)"]
    lines += [
        "all = Concat <axis = 0> (from_input, from_state)",
        _integers("time_axis", 1),
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


def _unrolled(plan: MimoPlan) -> list[str]:
    """The dense recurrence in one node, which keeps the state after every sample."""
    return [
        _integers("zero1", 0),
        _integers("one1", 1),
        _integers("minus1", -1),
        "weights = Unsqueeze (B, zero1)",
        "recurrence = Unsqueeze (A, zero1)",
        "start = Unsqueeze (x, zero1)",
        "in_time = Transpose <perm = [1, 0, 2]> (u)",
        f"after, final = RNN <hidden_size = {plan.order}, {AFFINE}> (in_time, weights, recurrence, , , start)",
        "end = Squeeze (final, zero1)",
        "lifted = Add (end, flush)",
        "x_next = Sub (lifted, flush)",
        # (T, 1, batch, n): the states before the samples are those after the ones before.
        "after3 = Squeeze (after, one1)",
        "known = Slice (after3, zero1, minus1, zero1)",
        "before = Concat <axis = 0> (start, known)",
        "states = Transpose <perm = [1, 0, 2]> (before)",
        "Ct = Transpose <perm = [1, 0]> (C)",
        *(["Vt = Transpose <perm = [1, 0]> (V)"] if plan.squares else []),
        *_outputs(plan, "states", "u"),
    ]


def _outputs(plan: MimoPlan, states: str, samples: str) -> list[str]:
    lines = [
        f"from_states = MatMul ({states}, Ct)",
        "Dt = Transpose <perm = [1, 0]> (D)",
        f"from_samples = MatMul ({samples}, Dt)",
    ]
    if not plan.squares:
        return [*lines, "y = Add (from_states, from_samples)"]
    return [
        *lines,
        "linear = Add (from_states, from_samples)",
        f"directions_of = MatMul ({states}, Vt)",
        "squares = Mul (directions_of, directions_of)",
        "Wt = Transpose <perm = [1, 0]> (W)",
        "quadratic = MatMul (squares, Wt)",
        "y = Add (linear, quadratic)",
    ]


def _dense(plan: MimoPlan) -> list[str]:
    """A as a dense float32 matrix: a on the diagonal, b beside it."""
    n = plan.order
    swap = [j ^ 1 if (j ^ 1) < n else j for j in range(n)]
    # In an odd order the last state has no partner: its row of the swapped identity is empty, whatever b says.
    partner = ["1.0" if swap[j] != j else "0.0" for j in range(n)]
    return [
        f"swap = Constant <value = int64[{n}] {{{', '.join(map(str, swap))}}}> ()",
        f"partner = Constant <value = float[{n}] {{{', '.join(partner)}}}> ()",
        _integers("square_shape", n, n),
        "square = ConstantOfShape <value = float[1] {0.0}> (square_shape)",
        "eye = EyeLike (square)",
        "swapped = Gather <axis = 0> (eye, swap)",
        _integers("columns", 1),
        "b_paired = Mul (b, partner)",
        "a_column = Unsqueeze (a, columns)",
        "b_column = Unsqueeze (b_paired, columns)",
        "diagonal = Mul (eye, a_column)",
        "beside = Mul (swapped, b_column)",
        "A = Add (diagonal, beside)",
    ]


def _sections(plan: MimoPlan) -> int:
    return (plan.order + 1) // 2


def _section_powers(plan: MimoPlan) -> list[str]:
    """Transposed powers of the sections, ``powers[s, k] = (A_s^k)^T`` for k = 0 .. T, (sections, T + 1, 2, 2), float64."""
    sections, T = _sections(plan), plan.block
    odd = plan.order % 2
    lines = [
        _integers("to_even", 0, odd),
        "a_even = Pad (a, to_even)",
        "b_even = Pad (b, to_even)",
        "a64 = Cast <to = 11> (a_even)",
        "b64 = Cast <to = 11> (b_even)",
        _integers("pair_shape", sections, 2),
        "ap = Reshape (a64, pair_shape)",
        "bp = Reshape (b64, pair_shape)",
        "a0, a1 = Split <axis = 1, num_outputs = 2> (ap)",
        "b0, b1 = Split <axis = 1, num_outputs = 2> (bp)",
        "entries = Concat <axis = 1> (a0, b1, b0, a1)",
        _integers("section_shape", sections, 1, 2, 2),
        "factor_0 = Reshape (entries, section_shape)",
        _integers("two_by_two", 2, 2),
        "zeros_two = ConstantOfShape <value = double[1] {0.0}> (two_by_two)",
        "eye_two = EyeLike (zeros_two)",
        "table_0 = Expand (eye_two, section_shape)",
    ]
    length, level = 1, 0
    while length < T + 1:
        lines += [
            f"higher_{level} = MatMul (table_{level}, factor_{level})",
            f"table_{level + 1} = Concat <axis = 1> (table_{level}, higher_{level})",
        ]
        length *= 2
        if length < T + 1:
            lines.append(f"factor_{level + 1} = MatMul (factor_{level}, factor_{level})")
        level += 1
    return [
        *lines,
        _integers("first", 0),
        _integers("count", T + 1),
        _integers("one1", 1),
        f"powers = Slice (table_{level}, first, count, one1)",
    ]


def _chunk_constants(plan: MimoPlan) -> list[str]:
    """Float32 constants: triangle (sections, 1, 2 T, 2 T + 2), outward (sections, 1, 2, 2 T), leap and identity (1, n, n)."""
    sections, T = _sections(plan), plan.block
    n = 2 * sections
    return [
        _integers("T_powers", T),
        "small = Slice (powers, first, T_powers, one1)",
        # Row j, column i of the triangle holds the power i - 1 - j; behind T zeros it stands at T + i - 1 - j.
        "no_powers = Sub (small, small)",
        "behind_zeros = Concat <axis = 1> (no_powers, small)",
        "r0 = Constant <value_int = 0> ()",
        "r1 = Constant <value_int = 1> ()",
        f"rT = Constant <value_int = {T}> ()",
        f"rT1 = Constant <value_int = {T + 1}> ()",
        "from_sample = Range (r0, rT, r1)",
        "to_sample = Range (r0, rT1, r1)",
        "from_column = Unsqueeze (from_sample, one1)",
        "lag = Sub (to_sample, from_column)",
        f"offset = Constant <value_int = {T - 1}> ()",
        "place = Add (lag, offset)",
        "blocks = Gather <axis = 1> (behind_zeros, place)",
        "blocks_rows = Transpose <perm = [0, 1, 3, 2, 4]> (blocks)",
        _integers("triangle_shape", sections, 1, 2 * T, 2 * T + 2),
        "triangle64 = Reshape (blocks_rows, triangle_shape)",
        "triangle = Cast <to = 1> (triangle64)",
        "out_rows = Transpose <perm = [0, 2, 1, 3]> (small)",
        _integers("outward_shape", sections, 1, 2, 2 * T),
        "outward64 = Reshape (out_rows, outward_shape)",
        "outward = Cast <to = 1> (outward64)",
        # A^T, block-diagonal: entry (s, i, t, k) is the section's (i, k) where s = t.
        "whole = Gather <axis = 1> (powers, rT)",
        "whole_rows = Transpose <perm = [0, 2, 1]> (whole)",
        _integers("spread_axes", 2),
        "spread = Unsqueeze (whole_rows, spread_axes)",
        _integers("sections_square", sections, sections),
        "no_sections = ConstantOfShape <value = double[1] {0.0}> (sections_square)",
        "eye_sections = EyeLike (no_sections)",
        _integers("eye_shape", sections, 1, sections, 1),
        "same = Reshape (eye_sections, eye_shape)",
        "leap4 = Mul (spread, same)",
        _integers("leap_shape", 1, n, n),
        "leap64 = Reshape (leap4, leap_shape)",
        "leap = Cast <to = 1> (leap64)",
        _integers("square_shape", n, n),
        "square = ConstantOfShape <value = float[1] {0.0}> (square_shape)",
        "eye = EyeLike (square)",
        "identity = Unsqueeze (eye, first)",
    ]


def _padded(name: str, matrix: str, state_axis: int, plan: MimoPlan) -> list[str]:
    """The transpose of a matrix, with a zero for the state that makes an odd order even."""
    odd = plan.order % 2
    ends = (odd, 0) if state_axis == 0 else (0, odd)
    return [
        _integers(f"{name}_ends", 0, 0, *ends),
        f"{name}_even = Pad ({matrix}, {name}_ends)",
        f"{name} = Transpose <perm = [1, 0]> ({name}_even)",
    ]


def _integers(name: str, *values: int) -> str:
    return f"{name} = Constant <value = int64[{len(values)}] {{{', '.join(map(str, values))}}}> ()"


def _function(name: str, plan: MimoPlan, inputs: str, outputs: str, lines: list[str]) -> str:
    constants = "a, b, B, C, D, V, W" if plan.squares else "a, b, B, C, D"
    body = "\n  ".join(lines)
    return f'<domain: "{DOMAIN}", opset_import: ["" : {OPSET}]>\n{name} ({inputs}, {constants}) => ({outputs})\n{{\n  {body}\n}}'
