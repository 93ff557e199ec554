"""ONNX functions for one system of many inputs and outputs, linear or with quadratic outputs, as text.

    x[k+1] = A x[k] + B u[k]        y[k] = C x[k] + D u[k]  (+ W (V x[k])^2)

or ``y[k] = C x[k+1] + D * u[k]`` with a vector D, or without one, where the outputs read the state after the sample.
A is the 2 x 2 sections of :mod:`ssm2edge.systems.mimo_form`.  Quadratic outputs need every state, so that all forms compute the
states first.  Over chunks of T samples, with x the state before a chunk:

    x[i] = A^i x + sum_{j < i} A^(i-1-j) B u[j]        i = 0 .. T, the last being the state before the next chunk

(from 1 on where outputs read the states after the samples), which is a product of the chunk, its samples side by side, with a
block-triangular matrix.  Dense products of that size are faster in onnxruntime than the fewer multiply-adds of 2 x 2 sections,
which need time and states transposed before and after.

The step over the chunks is one ``RNN`` node with the activation ``Affine``: f(z) = z + 2^-70, which keeps states that decay from
becoming subnormal numbers; states that leave the graph are rounded (:mod:`ssm2edge.lowering.functions`).

Every constant but the system's own is computed in the graph, in float64 from the float32 poles the recurrence uses, and folded
when the runtime loads it: files stay near the size of the parameters, and all forms are the same system.
"""

from __future__ import annotations

from ssm2edge.lowering.functions import FLUSH, function_text, integers
from ssm2edge.lowering.mimo_matrices import dense, through
from ssm2edge.lowering.mimo_plan import MimoPlan
from ssm2edge.lowering.mimo_step import merged, reading_after, recurrent

AFFINE = f'activations = ["Affine"], activation_alpha = [1.0], activation_beta = [{FLUSH}]'


def sequence_function(plan: MimoPlan, name: str) -> str:
    """Text of ``name(u, a, b, B, C[, D][, V, W]) => (y)``: whole sequences (batch, time, inputs) from zero states."""
    T, n = plan.block, plan.order
    split = [
        f"lengths = Constant <value = int64[2] {{{T * n}, {n}}}> ()",
        "from_zero, added = Split <axis = -1> (inner, lengths)",
    ]
    if plan.after_sample:
        split = ["from_zero = Identity (inner)", *_last_state(plan, "inner", "added")]
    lines = [
        *_chunk_constants(plan),
        # Cut time into chunks, the last one filled with zeros; the states may be far fewer than the inputs.
        *_drive(plan, "u", "driving"),
        "time = Shape <start = 1, end = 2> (u)",
        "negative = Neg (time)",
        "missing = Mod (negative, T1)",
        integers("before_end", 0, 0, 0, 0),
        integers("after_end", 0),
        "pads = Concat <axis = 0> (before_end, missing, after_end)",
        "samples = Pad (driving, pads)",
        integers("chunk_shape", 0, -1, T * plan.driven),
        "chunks = Reshape (samples, chunk_shape)",
        # States within each chunk from zero, and what each chunk adds to the next one's state.
        "inner = MatMul (chunks, inward)",
        *split,
        "pushes = Transpose <perm = [1, 0, 2]> (added)",
        "leap = Unsqueeze (A_T, zero1)",
        "identity = Unsqueeze (eye, zero1)",
        f"after, final = RNN <hidden_size = {n}, {AFFINE}> (pushes, identity, leap)",
        "after3 = Squeeze (after, one1)",
        integers("minus1", -1),
        "known = Slice (after3, zero1, minus1, zero1)",
        integers("one_before", 1, 0, 0, 0, 0, 0),
        "starts_first = Pad (known, one_before)",
        "starts = Transpose <perm = [1, 0, 2]> (starts_first)",
        "within = Slice (outward, zero1, states_end, one1)",
        "carried = MatMul (starts, within)",
        "all_states = Add (from_zero, carried)",
        integers("long_shape", 0, -1, n),
        "long = Reshape (all_states, long_shape)",
        "x = Slice (long, zero1, time, one1)",
    ]
    if plan.after_sample and plan.squares:
        lines += [
            integers("sample_before", 0, 1, 0, 0, 0, 0),
            "shifted = Pad (x, sample_before)",
            "before = Slice (shifted, zero1, time, one1)",
        ]
    return _function(name, plan, "u", "y", [*lines, *_outputs(plan, "x", "before" if plan.after_sample else "x", "u")])


def block_function(plan: MimoPlan, name: str) -> str:
    """Text of ``name(u, x, a, b, B, C[, D][, V, W]) => (y, x_next)``: one block (batch, T, inputs), states (batch, order)."""
    step = reading_after if plan.after_sample else recurrent
    forms = {"recurrent": step, "merged": merged, "unrolled": _unrolled, "chunked": _one_chunk}
    lines = [f"flush = Constant <value = float[1] {{{FLUSH}}}> ()", *forms[plan.form](plan)]
    return _function(name, plan, "u, x", "y, x_next", lines)


def _one_chunk(plan: MimoPlan) -> list[str]:
    T, n = plan.block, plan.order
    split = [
        f"lengths = Constant <value = int64[2] {{{T * n}, {n}}}> ()",
        "states_flat, end = Split <axis = -1> (states_row, lengths)",
    ]
    if plan.after_sample:
        split = ["states_flat = Identity (states_row)", *_last_state(plan, "states_row", "end")]
    lines = [
        *_chunk_constants(plan),
        *_drive(plan, "u", "samples"),
        integers("row_shape", 0, T * plan.driven),
        "row = Reshape (samples, row_shape)",
        "pushed = MatMul (row, inward)",
        "carried = MatMul (x, outward)",
        "states_row = Add (pushed, carried)",
        *split,
        "lifted = Add (end, flush)",
        "x_next = Sub (lifted, flush)",
        integers("states_shape", 0, T, n),
        "states = Reshape (states_flat, states_shape)",
    ]
    if plan.after_sample and plan.squares:
        lines += [
            integers("minus1", -1),
            "start = Unsqueeze (x, one1)",
            "known = Slice (states, zero1, minus1, one1)",
            "before = Concat <axis = 1> (start, known)",
        ]
    return [*lines, *_outputs(plan, "states", "before" if plan.after_sample else "states", "u")]


def _last_state(plan: MimoPlan, row: str, name: str) -> list[str]:
    """The state after a chunk, which is the last of those after its samples."""
    T, n = plan.block, plan.order
    lines = [integers("last_begins", (T - 1) * n), integers("last_ends", T * n), integers("row_axis", -1)]
    return [*lines, f"{name} = Slice ({row}, last_begins, last_ends, row_axis)"]


def _unrolled(plan: MimoPlan) -> list[str]:
    """The dense recurrence in one node, which keeps the state after every sample."""
    return [
        *dense(plan),
        integers("zero1", 0),
        integers("one1", 1),
        integers("minus1", -1),
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
        "states_after = Transpose <perm = [1, 0, 2]> (after3)",
        *_outputs(plan, "states_after" if plan.after_sample else "states", "states", "u"),
    ]


def _outputs(plan: MimoPlan, states: str, squared: str, samples: str) -> list[str]:
    """Outputs from the states they read and those that squares read."""
    lines = ["Ct = Transpose <perm = [1, 0]> (C)", f"from_states = MatMul ({states}, Ct)"]
    if not plan.squares:
        return [*lines, *through(plan, "from_states", samples, "y")]
    return [
        *lines,
        *through(plan, "from_states", samples, "linear"),
        "Vt = Transpose <perm = [1, 0]> (V)",
        f"directions_of = MatMul ({squared}, Vt)",
        "squares = Mul (directions_of, directions_of)",
        "Wt = Transpose <perm = [1, 0]> (W)",
        "quadratic = MatMul (squares, Wt)",
        "y = Add (linear, quadratic)",
    ]


def _drive(plan: MimoPlan, samples: str, name: str) -> list[str]:
    """What a chunk's product starts from: the samples, or B times them where there are fewer states than inputs."""
    if plan.driven == plan.inputs:
        return [f"{name} = Identity ({samples})"]
    return ["drive_matrix = Transpose <perm = [1, 0]> (B)", f"{name} = MatMul ({samples}, drive_matrix)"]


def _chunk_constants(plan: MimoPlan) -> list[str]:
    """Float32 matrices of one chunk, in rows: inward (T driven, S n), outward (n, S n), and A_T, the T-th power.

    S states are those from before the chunk to after it, T + 1 of them; T where the first is not needed.
    """
    T, n = plan.block, plan.order
    first = 1 if plan.after_sample else 0
    states = T + 1 - first
    lines = [
        *dense(plan),
        integers("zero1", 0),
        integers("one1", 1),
        integers("T1", T),
        integers("T_plus_1", T + 1),
        integers("states_end", T * n),
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
        f"r_first = Constant <value_int = {first}> ()",
        f"rT = Constant <value_int = {T}> ()",
        f"rT1 = Constant <value_int = {T + 1}> ()",
        "from_sample = Range (r0, rT, r1)",
        "to_state = Range (r_first, rT1, r1)",
        "from_column = Unsqueeze (from_sample, one1)",
        "lag = Sub (to_state, from_column)",
        f"offset = Constant <value_int = {T - 1}> ()",
        "place = Add (lag, offset)",
        "reached = Gather <axis = 0> (behind_zeros, place)",
        "reached_rows = Transpose <perm = [0, 2, 1, 3]> (reached)",
        integers("inward_shape", T * plan.driven, states * n),
        "inward64 = Reshape (reached_rows, inward_shape)",
        "inward = Cast <to = 1> (inward64)",
        integers("first_power", first),
        "needed = Slice (powers, first_power, T_plus_1, zero1)",
        "onward = Transpose <perm = [1, 0, 2]> (needed)",
        integers("outward_shape", n, states * n),
        "outward64 = Reshape (onward, outward_shape)",
        "outward = Cast <to = 1> (outward64)",
        "last64 = Gather <axis = 0> (powers, rT)",
        "last64t = Transpose <perm = [1, 0]> (last64)",
        "A_T = Cast <to = 1> (last64t)",
    ]


def _function(name: str, plan: MimoPlan, inputs: str, outputs: str, lines: list[str]) -> str:
    constants = "a, b, B, C" + (", D" if plan.feedthrough != "none" else "") + (", V, W" if plan.squares else "")
    return function_text(name, f"{inputs}, {constants}", outputs, lines)
