"""ONNX functions for one system of many inputs and outputs, linear or with quadratic outputs, as text.

    x[k+1] = A x[k] + B u[k]        y[k] = C x[k] + D u[k]  (+ W (V x[k])^2)

A is the 2 x 2 sections of :mod:`ssm2edge.systems.mimo_form`.  Quadratic outputs need every state, so that all forms compute the
states first.  Over chunks of T samples, with x the state before a chunk:

    x[i] = A^i x + sum_{j < i} A^(i-1-j) B u[j]        i = 0 .. T, the last being the state before the next chunk

which is a product of the chunk, its samples side by side, with a block-triangular matrix.  Dense products of that size are faster
in onnxruntime than the fewer multiply-adds of 2 x 2 sections, which need time and states transposed before and after.

The step over the chunks is one ``RNN`` node with the activation ``Affine``: f(z) = z + 2^-70.  The constant changes nothing a
float32 signal could show, and keeps states that decay from becoming subnormal numbers (5 to 30 times slower on some processors).
States that leave the graph are rounded to multiples of 2^-94, as in :mod:`ssm2edge.lowering.siso_bank`.

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
    T, n = plan.block, plan.order
    lines = [
        *_chunk_constants(plan),
        # Cut time into chunks, the last one filled with zeros; the states may be far fewer than the inputs.
        *_drive(plan, "u", "driving"),
        "time = Shape <start = 1, end = 2> (u)",
        "negative = Neg (time)",
        "missing = Mod (negative, T1)",
        _integers("before_end", 0, 0, 0, 0),
        _integers("after_end", 0),
        "pads = Concat <axis = 0> (before_end, missing, after_end)",
        "samples = Pad (driving, pads)",
        _integers("chunk_shape", 0, -1, T * plan.driven),
        "chunks = Reshape (samples, chunk_shape)",
        # States within each chunk from zero, and what each chunk adds to the next one's state.
        "inner = MatMul (chunks, inward)",
        f"lengths = Constant <value = int64[2] {{{T * n}, {n}}}> ()",
        "from_zero, added = Split <axis = -1> (inner, lengths)",
        "pushes = Transpose <perm = [1, 0, 2]> (added)",
        "leap = Unsqueeze (A_T, zero1)",
        "identity = Unsqueeze (eye, zero1)",
        f"after, final = RNN <hidden_size = {n}, {AFFINE}> (pushes, identity, leap)",
        "after3 = Squeeze (after, one1)",
        _integers("minus1", -1),
        "known = Slice (after3, zero1, minus1, zero1)",
        _integers("one_before", 1, 0, 0, 0, 0, 0),
        "starts_first = Pad (known, one_before)",
        "starts = Transpose <perm = [1, 0, 2]> (starts_first)",
        "within = Slice (outward, zero1, states_end, one1)",
        "carried = MatMul (starts, within)",
        "all_states = Add (from_zero, carried)",
        _integers("long_shape", 0, -1, n),
        "long = Reshape (all_states, long_shape)",
        "x = Slice (long, zero1, time, one1)",
        *_outputs(plan, "x", "u"),
    ]
    return _function(name, plan, "u", "y", lines)


def block_function(plan: MimoPlan, name: str) -> str:
    """Text of ``name(u, x, a, b, B, C, D[, V, W]) => (y, x_next)``: one block (batch, T, inputs), states (batch, order)."""
    forms = {"recurrent": _recurrent, "unrolled": _unrolled, "chunked": _one_chunk}
    lines = [f"flush = Constant <value = float[1] {{{FLUSH}}}> ()", *forms[plan.form](plan)]
    return _function(name, plan, "u, x", "y, x_next", lines)


def _one_chunk(plan: MimoPlan) -> list[str]:
    T, n = plan.block, plan.order
    return [
        *_chunk_constants(plan),
        *_drive(plan, "u", "samples"),
        _integers("row_shape", 0, T * plan.driven),
        "row = Reshape (samples, row_shape)",
        "pushed = MatMul (row, inward)",
        "carried = MatMul (x, outward)",
        "states_row = Add (pushed, carried)",
        f"lengths = Constant <value = int64[2] {{{T * n}, {n}}}> ()",
        "states_flat, end = Split <axis = -1> (states_row, lengths)",
        "lifted = Add (end, flush)",
        "x_next = Sub (lifted, flush)",
        _integers("states_shape", 0, T, n),
        "states = Reshape (states_flat, states_shape)",
        *_outputs(plan, "states", "u"),
    ]


def _recurrent(plan: MimoPlan) -> list[str]:
    """One product of (u, x) with all matrices side by side."""
    n, p, q = plan.order, plan.outputs, plan.squares
    lines = [
        *_dense(plan),
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
        *_dense(plan),
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
        *_outputs(plan, "states", "u"),
    ]


def _outputs(plan: MimoPlan, states: str, samples: str) -> list[str]:
    lines = [
        "Ct = Transpose <perm = [1, 0]> (C)",
        f"from_states = MatMul ({states}, Ct)",
        "Dt = Transpose <perm = [1, 0]> (D)",
        f"from_samples = MatMul ({samples}, Dt)",
    ]
    if not plan.squares:
        return [*lines, "y = Add (from_states, from_samples)"]
    return [
        *lines,
        "linear = Add (from_states, from_samples)",
        "Vt = Transpose <perm = [1, 0]> (V)",
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


def _drive(plan: MimoPlan, samples: str, name: str) -> list[str]:
    """What a chunk's product starts from: the samples, or B times them where there are fewer states than inputs."""
    if plan.driven == plan.inputs:
        return [f"{name} = Identity ({samples})"]
    return ["drive_matrix = Transpose <perm = [1, 0]> (B)", f"{name} = MatMul ({samples}, drive_matrix)"]


def _chunk_constants(plan: MimoPlan) -> list[str]:
    """Float32 matrices of one chunk, in rows: inward (T driven, (T + 1) n), outward (n, (T + 1) n), and A_T, the T-th power."""
    T, n = plan.block, plan.order
    lines = [
        *_dense(plan),
        _integers("zero1", 0),
        _integers("one1", 1),
        _integers("T1", T),
        _integers("T_plus_1", T + 1),
        _integers("states_end", T * n),
        # table[k] = (A^k)^T for k = 0 .. T, by doubling, in float64.
        "A64 = Cast <to = 11> (A)",
        "A64t = Transpose <perm = [1, 0]> (A64)",
        "factor_0 = Unsqueeze (A64t, zero1)",
        "eye64 = Cast <to = 11> (eye)",
        "table_0 = Unsqueeze (eye64, zero1)",
    ]
    length, level = 1, 0
    while length < T + 1:
        lines += [
            f"higher_{level} = MatMul (table_{level}, factor_{level})",
            f"table_{level + 1} = Concat <axis = 0> (table_{level}, higher_{level})",
        ]
        length *= 2
        if length < T + 1:
            lines.append(f"factor_{level + 1} = MatMul (factor_{level}, factor_{level})")
        level += 1
    drives = ["B64 = Cast <to = 11> (B)", "B64t = Transpose <perm = [1, 0]> (B64)", "reach = MatMul (B64t, small)"]
    return [
        *lines,
        f"powers = Slice (table_{level}, zero1, T_plus_1, zero1)",
        "small = Slice (powers, zero1, T1, zero1)",
        *(drives if plan.driven == plan.inputs else ["reach = Identity (small)"]),
        # Sample j reaches state i with the power i - 1 - j; behind T zeros that stands at T + i - 1 - j.
        "no_reach = Sub (reach, reach)",
        "behind_zeros = Concat <axis = 0> (no_reach, reach)",
        "r0 = Constant <value_int = 0> ()",
        "r1 = Constant <value_int = 1> ()",
        f"rT = Constant <value_int = {T}> ()",
        f"rT1 = Constant <value_int = {T + 1}> ()",
        "from_sample = Range (r0, rT, r1)",
        "to_state = Range (r0, rT1, r1)",
        "from_column = Unsqueeze (from_sample, one1)",
        "lag = Sub (to_state, from_column)",
        f"offset = Constant <value_int = {T - 1}> ()",
        "place = Add (lag, offset)",
        "reached = Gather <axis = 0> (behind_zeros, place)",
        "reached_rows = Transpose <perm = [0, 2, 1, 3]> (reached)",
        _integers("inward_shape", T * plan.driven, (T + 1) * n),
        "inward64 = Reshape (reached_rows, inward_shape)",
        "inward = Cast <to = 1> (inward64)",
        "onward = Transpose <perm = [1, 0, 2]> (powers)",
        _integers("outward_shape", n, (T + 1) * n),
        "outward64 = Reshape (onward, outward_shape)",
        "outward = Cast <to = 1> (outward64)",
        "last64 = Gather <axis = 0> (powers, rT)",
        "last64t = Transpose <perm = [1, 0]> (last64)",
        "A_T = Cast <to = 1> (last64t)",
    ]


def _integers(name: str, *values: int) -> str:
    return f"{name} = Constant <value = int64[{len(values)}] {{{', '.join(map(str, values))}}}> ()"


def _function(name: str, plan: MimoPlan, inputs: str, outputs: str, lines: list[str]) -> str:
    constants = "a, b, B, C, D, V, W" if plan.squares else "a, b, B, C, D"
    body = "\n  ".join(lines)
    return f'<domain: "{DOMAIN}", opset_import: ["" : {OPSET}]>\n{name} ({inputs}, {constants}) => ({outputs})\n{{\n  {body}\n}}'
