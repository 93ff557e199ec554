"""ONNX functions for banks of SISO channels in unit-input real form, as text.

Every constant but a, b, c, d is computed in the graph, in float64 from the float32 poles the recurrence uses, and folded when
the runtime loads it: files stay near the size of the parameters, and all forms are the same system.

With x the state before a chunk and u, y its T samples :

    y  = Toep u + O x          Toep[i, j] = h[i - j], lower triangular, the feedthrough on the diagonal;  O[i] = c A^i
    x' = A^T x + R u           R[:, j] = A^(T - 1 - j) 1

A is the 2 x 2 sections of :mod:`ssm2edge.systems.real_form`: (A x) = a x + b swap(x), with powers of the same structure,
A^(s+t) = (a_s a_t + b_s swap(b_t), a_s b_t + b_s swap(a_t)).

States never become subnormal numbers (5 to 30 times slower on some processors): adding and subtracting 2^-70 rounds them to
multiples of 2^-94, which changes nothing a float32 signal could show.
"""

from __future__ import annotations

from ssm2edge.lowering.plan import Plan

DOMAIN = "ssm2edge"
OPSET = 18
FLUSH = "8.470329472543003e-22"
"""2^-70 in decimal digits."""
GRAIN = "5.684341886080802e-14"
"""2^-44: float64 constants are rounded to multiples of 2^-96 before they become float32."""


def _powers(plan: Plan, count: int) -> list[str]:
    """Tables of the section coefficients of A^k for k = 0 .. count - 1 by doubling: pa, pb of shape (channels, order, count)."""
    lines = [
        f"swap = Constant <value = int64[{plan.order}] {{{', '.join(str(j) for j in swap_order(plan.order))}}}> ()",
        "a64 = Cast <to = 11> (a)",
        "b64 = Cast <to = 11> (b)",
        "last = Constant <value = int64[1] {-1}> ()",
        "a_1 = Unsqueeze (a64, last)",
        "b_1 = Unsqueeze (b64, last)",
        "pb_0 = Sub (b_1, b_1)",
        "one64 = Constant <value = double[1] {1.0}> ()",
        "pa_0 = Add (pb_0, one64)",
    ]
    # Level m: tables hold A^0 .. A^(2^m - 1), (a_k, b_k) with k = 2^m the next power.
    length, level, power = 1, 0, "1"
    while length < count:
        lines += [
            f"spa_{level} = Gather <axis = 1> (pa_{level}, swap)",
            f"spb_{level} = Gather <axis = 1> (pb_{level}, swap)",
            f"aa_{level} = Mul (a_{power}, pa_{level})",
            f"bb_{level} = Mul (b_{power}, spb_{level})",
            f"ab_{level} = Mul (a_{power}, pb_{level})",
            f"ba_{level} = Mul (b_{power}, spa_{level})",
            f"na_{level} = Add (aa_{level}, bb_{level})",
            f"nb_{level} = Add (ab_{level}, ba_{level})",
            f"pa_{level + 1} = Concat <axis = -1> (pa_{level}, na_{level})",
            f"pb_{level + 1} = Concat <axis = -1> (pb_{level}, nb_{level})",
        ]
        length, level = 2 * length, level + 1
        if length < count:
            nxt = str(length)
            lines += [
                f"sa_{power} = Gather <axis = 1> (a_{power}, swap)",
                f"sb_{power} = Gather <axis = 1> (b_{power}, swap)",
                f"asq_{power} = Mul (a_{power}, a_{power})",
                f"bsq_{power} = Mul (b_{power}, sb_{power})",
                f"acr_{power} = Mul (a_{power}, b_{power})",
                f"bcr_{power} = Mul (b_{power}, sa_{power})",
                f"a_{nxt} = Add (asq_{power}, bsq_{power})",
                f"b_{nxt} = Add (acr_{power}, bcr_{power})",
            ]
            power = nxt
    lines += [
        "zero1 = Constant <value = int64[1] {0}> ()",
        f"count1 = Constant <value = int64[1] {{{count}}}> ()",
        f"pa = Slice (pa_{level}, zero1, count1, last)",
        f"pb = Slice (pb_{level}, zero1, count1, last)",
    ]
    return lines


def swap_order(order: int) -> list[int]:
    """Permutation that exchanges the two states of each section; an odd last state stays."""
    return [j ^ 1 if (j ^ 1) < order else j for j in range(order)]


def _chunk_constants(plan: Plan) -> list[str]:
    """Matrices of one chunk: toeplitz = Toep^T (channels, T, T), reach = R^T (channels, T, order), outward = O^T (channels, order, T)
    and A^T as sections aT64, bT64 (channels, order), all in float64."""
    T = plan.block
    return [
        *_powers(plan, T + 1),
        "c64v = Cast <to = 11> (c)",
        "c64 = Unsqueeze (c64v, last)",
        "d64v = Cast <to = 11> (d)",
        "d64 = Unsqueeze (d64v, last)",
        f"t1 = Constant <value = int64[1] {{{T}}}> ()",
        "next1 = Constant <value = int64[1] {-1}> ()",
        # A^k 1 and h[0] = d, h[k] = c A^(k-1) 1
        "ones_all = Add (pa, pb)",
        "ones_T = Slice (ones_all, zero1, t1, last)",
        "weighted = Mul (ones_T, c64)",
        "order_axis = Constant <value = int64[1] {1}> ()",
        "markov_all = ReduceSum <keepdims = 0> (weighted, order_axis)",
        f"short1 = Constant <value = int64[1] {{{T - 1}}}> ()",
        "markov = Slice (markov_all, zero1, short1, last)",
        "kernel = Concat <axis = -1> (d64, markov)",
        "nothing = Sub (kernel, kernel)",
        "padded = Concat <axis = -1> (nothing, kernel)",
        # Toep^T[j, i] = h[i - j]: position T + i - j of the kernel behind T zeros.
        "r0 = Constant <value_int = 0> ()",
        f"rT = Constant <value_int = {T}> ()",
        "r1 = Constant <value_int = 1> ()",
        "times = Range (r0, rT, r1)",
        "row = Unsqueeze (times, zero1)",
        "column = Unsqueeze (times, last)",
        "lag = Sub (row, column)",
        "place = Add (lag, rT)",
        "toeplitz = Gather <axis = -1> (padded, place)",
        # R^T[j] = A^(T-1-j) 1
        f"from_last = Constant <value = int64[1] {{{T - 1}}}> ()",
        "to_first = Constant <value = int64[1] {-9223372036854775807}> ()",
        "backwards = Slice (ones_T, from_last, to_first, last, next1)",
        "reach = Transpose <perm = [0, 2, 1]> (backwards)",
        # O[i] = c A^i
        "pa_T = Slice (pa, zero1, t1, last)",
        "pb_T = Slice (pb, zero1, t1, last)",
        "ca = Mul (pa_T, c64)",
        "cb = Mul (pb_T, c64)",
        "scb = Gather <axis = 1> (cb, swap)",
        "outward = Add (ca, scb)",
        f"at = Constant <value_int = {T}> ()",
        "aT64 = Gather <axis = -1> (pa, at)",
        "bT64 = Gather <axis = -1> (pb, at)",
        f"flush = Constant <value = float[1] {{{FLUSH}}}> ()",
        f"grain = Constant <value = double[1] {{{GRAIN}}}> ()",
    ]


def _constant32(name: str, source: str) -> list[str]:
    """float32 form of a float64 constant, without the powers of quick poles that would be subnormal numbers."""
    return [
        f"{name}_up = Add ({source}, grain)",
        f"{name}_down = Sub ({name}_up, grain)",
        f"{name} = Cast <to = 1> ({name}_down)",
    ]


def sequence_function(plan: Plan, name: str) -> str:
    """Text of ``name(u, a, b, c, d) => (y)``: whole sequences (batch, channels, time) of any length >= 1 from zero states.

    The states of the Scan carry the offset 2^-70 all the way, (x + f)' = A^T (x + f) + (r + f - A^T f): no node of its body is
    spent on flushing, and outputs that are 2^-70 c off cannot show it.  What the Scan stacks is swap(x) before each chunk, a value
    its body computes anyway.  Time is moved by transposing matrices only; onnxruntime is ten times slower at other permutations.
    """
    T, n, channels = plan.block, plan.order, plan.channels
    lines = [
        *_chunk_constants(plan),
        *_constant32("arrive", "reach"),
        "outward_swapped = Gather <axis = 1> (outward, swap)",
        "onto64 = Concat <axis = 1> (toeplitz, outward_swapped)",
        *_constant32("onto", "onto64"),
        "aTt = Transpose <perm = [1, 0]> (aT64)",
        "bTt = Transpose <perm = [1, 0]> (bT64)",
        *_constant32("aT", "aTt"),
        *_constant32("bT", "bTt"),
        "flush64 = Cast <to = 11> (flush)",
        "moved_one = Add (aTt, bTt)",
        "stays = Sub (one64, moved_one)",
        "lift64 = Mul (flush64, stays)",
        "lift = Cast <to = 1> (lift64)",
        # Cut time into chunks, the last one filled with zeros.
        "time = Shape <start = 2, end = 3> (u)",
        "negative = Neg (time)",
        "missing = Mod (negative, t1)",
        "front = Constant <value = int64[5] {0, 0, 0, 0, 0}> ()",
        "pads = Concat <axis = 0> (front, missing)",
        "filled = Pad (u, pads)",
        f"to_chunks = Constant <value = int64[4] {{0, 0, -1, {T}}}> ()",
        "chunks = Reshape (filled, to_chunks)",
        # What arrives in the state in each chunk, to (chunks, batch, order, channels).
        "arriving = MatMul (chunks, arrive)",
        "to_rows = Constant <value = int64[3] {0, 0, -1}> ()",
        "arriving_rows = Reshape (arriving, to_rows)",
        "arriving_columns = Transpose <perm = [0, 2, 1]> (arriving_rows)",
        f"to_states = Constant <value = int64[4] {{0, -1, {n}, {channels}}}> ()",
        "arriving_states = Reshape (arriving_columns, to_states)",
        "arriving_first = Transpose <perm = [1, 0, 2, 3]> (arriving_states)",
        "lifted = Add (arriving_first, lift)",
        "batch1 = Shape <start = 0, end = 1> (u)",
        f"tail = Constant <value = int64[2] {{{n}, {channels}}}> ()",
        "state_shape = Concat <axis = 0> (batch1, tail)",
        f"start = ConstantOfShape <value = float[1] {{{FLUSH}}}> (state_shape)",
        "final, before = Scan <num_scan_inputs = 1, body = carry"
        f" (float[b, {n}, {channels}] x, float[b, {n}, {channels}] r) =>"
        f" (float[b, {n}, {channels}] x_next, float[b, {n}, {channels}] xs) {{"
        " xs = Gather <axis = 1> (x, swap)"
        " ax = Mul (aT, x)"
        " bx = Mul (bT, xs)"
        " moved = Add (ax, bx)"
        " x_next = Add (moved, r)"
        "}> (start, lifted)",
        "before_states = Transpose <perm = [1, 0, 2, 3]> (before)",
        f"to_columns = Constant <value = int64[3] {{0, -1, {channels}}}> ()",
        "before_columns = Reshape (before_states, to_columns)",
        "before_rows = Transpose <perm = [0, 2, 1]> (before_columns)",
        f"to_matrix = Constant <value = int64[4] {{0, 0, -1, {n}}}> ()",
        "before_chunks = Reshape (before_rows, to_matrix)",
        "known = Concat <axis = -1> (chunks, before_chunks)",
        "whole = MatMul (known, onto)",
        "long = Reshape (whole, to_rows)",
        "time_axis = Constant <value = int64[1] {2}> ()",
        "y = Slice (long, zero1, time, time_axis)",
    ]
    return _function(name, "u, a, b, c, d", "y", lines)


def block_function(plan: Plan, name: str) -> str:
    """Text of ``name(u, x, a, b, c, d) => (y, x_next)``: one block (batch, channels, T) with states (batch, order, channels)."""
    lines = _recurrent_block(plan) if plan.form == "recurrent" else _chunked_block(plan)
    return _function(name, "u, x, a, b, c, d", "y, x_next", lines)


def _recurrent_block(plan: Plan) -> list[str]:
    return [
        f"swap = Constant <value = int64[{plan.order}] {{{', '.join(str(j) for j in swap_order(plan.order))}}}> ()",
        f"flush = Constant <value = float[1] {{{FLUSH}}}> ()",
        "at = Transpose <perm = [1, 0]> (a)",
        "bt = Transpose <perm = [1, 0]> (b)",
        "ct = Transpose <perm = [1, 0]> (c)",
        f"as_row = Constant <value = int64[3] {{0, 1, {plan.channels}}}> ()",
        f"as_column = Constant <value = int64[3] {{0, {plan.channels}, 1}}> ()",
        "sample = Reshape (u, as_row)",
        "xs = Gather <axis = 1> (x, swap)",
        "ax = Mul (at, x)",
        "bx = Mul (bt, xs)",
        "moved = Add (ax, bx)",
        "pushed = Add (moved, sample)",
        "lifted = Add (pushed, flush)",
        "x_next = Sub (lifted, flush)",
        "cx = Mul (ct, x)",
        "state_axis = Constant <value = int64[1] {1}> ()",
        "seen = ReduceSum <keepdims = 1> (cx, state_axis)",
        "through = Mul (sample, d)",
        "row = Add (seen, through)",
        "y = Reshape (row, as_column)",
    ]


def _chunked_block(plan: Plan) -> list[str]:
    T, n = plan.block, plan.order
    return [
        *_chunk_constants(plan),
        "inward64 = Concat <axis = -1> (toeplitz, reach)",
        *_constant32("inward", "inward64"),
        *_constant32("onto", "outward"),
        "aTt = Transpose <perm = [1, 0]> (aT64)",
        "bTt = Transpose <perm = [1, 0]> (bT64)",
        *_constant32("aT", "aTt"),
        *_constant32("bT", "bTt"),
        "axis2 = Constant <value = int64[1] {2}> ()",
        "chunk = Unsqueeze (u, axis2)",
        "products = MatMul (chunk, inward)",
        "flat = Squeeze (products, axis2)",
        f"parts = Constant <value = int64[2] {{{T}, {n}}}> ()",
        "within, arriving = Split <axis = -1> (flat, parts)",
        "r = Transpose <perm = [0, 2, 1]> (arriving)",
        "xs = Gather <axis = 1> (x, swap)",
        "ax = Mul (aT, x)",
        "bx = Mul (bT, xs)",
        "moved = Add (ax, bx)",
        "pushed = Add (moved, r)",
        "lifted = Add (pushed, flush)",
        "x_next = Sub (lifted, flush)",
        "by_channel = Transpose <perm = [0, 2, 1]> (x)",
        "state_row = Unsqueeze (by_channel, axis2)",
        "seen = MatMul (state_row, onto)",
        "carried = Squeeze (seen, axis2)",
        "y = Add (within, carried)",
    ]


def _function(name: str, inputs: str, outputs: str, lines: list[str]) -> str:
    body = "\n  ".join(lines)
    return f'<domain: "{DOMAIN}", opset_import: ["" : {OPSET}]>\n{name} ({inputs}) => ({outputs})\n{{\n  {body}\n}}'
