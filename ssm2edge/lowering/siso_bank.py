"""ONNX functions for banks of SISO channels in unit-input real form, as text.

Every constant but a, b, c, d is computed in the graph, in float64 from the float32 poles the recurrence uses, and folded when
the runtime loads it: files stay near the size of the parameters, and all forms are the same system.

With x the state before a chunk and u, y its T samples :

    y  = Toep u + O x          Toep[i, j] = h[i - j], lower triangular, the feedthrough on the diagonal;  O[i] = c A^i
    x' = A^T x + R u           R[:, j] = A^(T - 1 - j) 1

A is the 2 x 2 sections of :mod:`ssm2edge.systems.real_form`: (A x) = a x + b swap(x), with powers of the same structure,
A^(s+t) = (a_s a_t + b_s swap(b_t), a_s b_t + b_s swap(a_t)).

States never become subnormal numbers: with f = 2^-70 (:mod:`ssm2edge.lowering.functions`), f - A f is added at every step, and
where a state starts a block, adding and subtracting f rounds it.
"""

from __future__ import annotations

from ssm2edge.lowering.functions import FLUSH, function_text, integers
from ssm2edge.lowering.plan import Plan
from ssm2edge.systems.real_form import swap_indices

GRAIN = "5.684341886080802e-14"
"""2^-44: float64 constants are rounded to multiples of 2^-96 before they become float32."""


def swap_constant(plan: Plan) -> str:
    """The permutation that exchanges the two states of each section."""
    return integers("swap", *swap_indices(plan.order))


def _powers(count: int, a: str, b: str, mark: str = "") -> list[str]:
    """Tables pa, pb (channels, order, count) of the sections (a, b)^k, k < count, by doubling; ``mark`` precedes all names."""
    lines = [
        f"{mark}a_1 = Unsqueeze ({a}, last)",
        f"{mark}b_1 = Unsqueeze ({b}, last)",
        f"{mark}pb_0 = Sub ({mark}b_1, {mark}b_1)",
        f"{mark}pa_0 = Add ({mark}pb_0, one64)",
    ]
    # Level m: tables hold A^0 .. A^(2^m - 1), (a_k, b_k) with k = 2^m the next power.
    length, level, power = 1, 0, "1"
    while length < count:
        lines += [
            f"{mark}spa_{level} = Gather <axis = 1> ({mark}pa_{level}, swap)",
            f"{mark}spb_{level} = Gather <axis = 1> ({mark}pb_{level}, swap)",
            f"{mark}aa_{level} = Mul ({mark}a_{power}, {mark}pa_{level})",
            f"{mark}bb_{level} = Mul ({mark}b_{power}, {mark}spb_{level})",
            f"{mark}ab_{level} = Mul ({mark}a_{power}, {mark}pb_{level})",
            f"{mark}ba_{level} = Mul ({mark}b_{power}, {mark}spa_{level})",
            f"{mark}na_{level} = Add ({mark}aa_{level}, {mark}bb_{level})",
            f"{mark}nb_{level} = Add ({mark}ab_{level}, {mark}ba_{level})",
            f"{mark}pa_{level + 1} = Concat <axis = -1> ({mark}pa_{level}, {mark}na_{level})",
            f"{mark}pb_{level + 1} = Concat <axis = -1> ({mark}pb_{level}, {mark}nb_{level})",
        ]
        length, level = 2 * length, level + 1
        if length < count:
            nxt = str(length)
            lines += [
                f"{mark}sa_{power} = Gather <axis = 1> ({mark}a_{power}, swap)",
                f"{mark}sb_{power} = Gather <axis = 1> ({mark}b_{power}, swap)",
                f"{mark}asq_{power} = Mul ({mark}a_{power}, {mark}a_{power})",
                f"{mark}bsq_{power} = Mul ({mark}b_{power}, {mark}sb_{power})",
                f"{mark}acr_{power} = Mul ({mark}a_{power}, {mark}b_{power})",
                f"{mark}bcr_{power} = Mul ({mark}b_{power}, {mark}sa_{power})",
                f"{mark}a_{nxt} = Add ({mark}asq_{power}, {mark}bsq_{power})",
                f"{mark}b_{nxt} = Add ({mark}acr_{power}, {mark}bcr_{power})",
            ]
            power = nxt
    lines += [
        f"{mark}count1 = Constant <value = int64[1] {{{count}}}> ()",
        f"{mark}pa = Slice ({mark}pa_{level}, zero1, {mark}count1, last)",
        f"{mark}pb = Slice ({mark}pb_{level}, zero1, {mark}count1, last)",
    ]
    return lines


def chunk_constants(plan: Plan) -> list[str]:
    """Matrices of one chunk in float64.

    toeplitz = Toep^T (channels, T, T), reach = R^T (channels, T, order), outward = O^T (channels, order, T), and A^T as sections
    aT64, bT64 (channels, order).
    """
    T = plan.block
    return [
        swap_constant(plan),
        "a64 = Cast <to = 11> (a)",
        "b64 = Cast <to = 11> (b)",
        "last = Constant <value = int64[1] {-1}> ()",
        "zero1 = Constant <value = int64[1] {0}> ()",
        "one64 = Constant <value = double[1] {1.0}> ()",
        *_powers(T + 1, "a64", "b64"),
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


def constant32(name: str, source: str) -> list[str]:
    """float32 form of a float64 constant, without the powers of quick poles that would be subnormal numbers."""
    return [
        f"{name}_up = Add ({source}, grain)",
        f"{name}_down = Sub ({name}_up, grain)",
        f"{name} = Cast <to = 1> ({name}_down)",
    ]


def sequence_function(plan: Plan, name: str) -> str:
    """Text of ``name(u, a, b, c, d) => (y)``: whole sequences (batch, time, channels) of any length >= 1 from zero states.

    Time is moved by transposing matrices only; onnxruntime is ten times slower at other permutations.  It is also five times
    slower at matrices whose rows are a power of two long, as sequences often are: rows of whole chunks are transposed, and what
    is too long is cut off where time comes first.
    """
    T, n = plan.block, plan.order
    lines = [
        *chunk_constants(plan),
        *constant32("arrive", "reach"),
        "outward_swapped = Gather <axis = 1> (outward, swap)",
        "onto64 = Concat <axis = 1> (toeplitz, outward_swapped)",
        *constant32("onto", "onto64"),
        # Cut time into chunks, the last one filled with zeros.
        "time = Shape <start = 1, end = 2> (u)",
        "negative = Neg (time)",
        "missing = Mod (negative, t1)",
        "before_end = Constant <value = int64[4] {0, 0, 0, 0}> ()",
        "pads = Concat <axis = 0> (before_end, missing, zero1)",
        "filled = Pad (u, pads)",
        "by_channel = Transpose <perm = [0, 2, 1]> (filled)",
        f"to_chunks = Constant <value = int64[4] {{0, 0, -1, {T}}}> ()",
        "chunks = Reshape (by_channel, to_chunks)",
        # What arrives in the state in each chunk, as (batch, chunks order, channels), becomes swap(x) before each chunk.
        "arriving = MatMul (chunks, arrive)",
        "to_rows = Constant <value = int64[3] {0, 0, -1}> ()",
        "arriving_rows = Reshape (arriving, to_rows)",
        "arriving_columns = Transpose <perm = [0, 2, 1]> (arriving_rows)",
        *_states_before_chunks(plan),
        "before_rows = Transpose <perm = [0, 2, 1]> (before_columns)",
        f"to_matrix = Constant <value = int64[4] {{0, 0, -1, {n}}}> ()",
        "before_chunks = Reshape (before_rows, to_matrix)",
        "known = Concat <axis = -1> (chunks, before_chunks)",
        "whole = MatMul (known, onto)",
        "long = Reshape (whole, to_rows)",
        "by_time = Transpose <perm = [0, 2, 1]> (long)",
        "y = Slice (by_time, zero1, time, order_axis)",
    ]
    return function_text(name, "u, a, b, c, d", "y", lines)


def _states_before_chunks(plan: Plan) -> list[str]:
    """What arrives in each chunk becomes swap(x) before it: arriving_columns to before_columns (batch, chunks order, channels).

    A Scan walks over groups of G chunks.  What a whole group adds and the states inside a group are found for all groups at once:

        r_group = sum_g A^(T (G - 1 - g)) r_g        x_(g+1) = A^T x_g + r_g

    Every r is lifted by f - A^T f with f = 2^-70, so that every state is x + f, and what a group adds is r_group + f - A^(T G) f:
    no state can become a subnormal number, no node is spent on flushing, and outputs that are c f off cannot show it.
    """
    n, channels, group = plan.order, plan.channels, plan.group
    lines = [
        "aTt = Transpose <perm = [1, 0]> (aT64)",
        "bTt = Transpose <perm = [1, 0]> (bT64)",
        *constant32("aT", "aTt"),
        *constant32("bT", "bTt"),
        "flush64 = Cast <to = 11> (flush)",
        "moved_one = Add (aTt, bTt)",
        "stays = Sub (one64, moved_one)",
        "lift64 = Mul (flush64, stays)",
        "lift = Cast <to = 1> (lift64)",
        *_filled_groups(plan),
        f"to_groups = Constant <value = int64[5] {{0, -1, {group}, {n}, {channels}}}> ()",
        "arriving_groups = Reshape (arriving_filled, to_groups)",
        "lifted = Add (arriving_groups, lift)",
        "group_axis = Constant <value = int64[1] {2}> ()",
    ]
    if group == 1:
        lines += ["group_lifted = Squeeze (lifted, group_axis)", "aG = Identity (aT)", "bG = Identity (bT)"]
    else:
        lines += [
            *_powers(group + 1, "aT64", "bT64", "group_"),
            f"whole_group = Constant <value_int = {group}> ()",
            f"last_in_group = Constant <value = int64[1] {{{group - 1}}}> ()",
        ]
        for part in "ab":
            lines += [
                f"{part}G64 = Gather <axis = -1> (group_p{part}, whole_group)",
                f"{part}Gt = Transpose <perm = [1, 0]> ({part}G64)",
                *constant32(f"{part}G", f"{part}Gt"),
                f"{part}_left64 = Slice (group_p{part}, last_in_group, to_first, last, next1)",
                f"{part}_leftt = Transpose <perm = [2, 1, 0]> ({part}_left64)",
                *constant32(f"{part}_left", f"{part}_leftt"),
            ]
        lines += [
            "swapped = Gather <axis = 3> (lifted, swap)",
            "turned_a = Mul (lifted, a_left)",
            "turned_b = Mul (swapped, b_left)",
            "turned = Add (turned_a, turned_b)",
            "group_lifted = ReduceSum <keepdims = 0> (turned, group_axis)",
        ]
    lines += [
        "group_first = Transpose <perm = [1, 0, 2, 3]> (group_lifted)",
        "batch1 = Shape <start = 0, end = 1> (u)",
        f"tail = Constant <value = int64[2] {{{n}, {channels}}}> ()",
        "state_shape = Concat <axis = 0> (batch1, tail)",
        f"start = ConstantOfShape <value = float[1] {{{FLUSH}}}> (state_shape)",
        # Stacking swap(x), which the body computes anyway, saves a node a step.
        "final, before_first = Scan <num_scan_inputs = 1, body = carry"
        f" (float[b, {n}, {channels}] x, float[b, {n}, {channels}] r) =>"
        f" (float[b, {n}, {channels}] x_next, float[b, {n}, {channels}] xs) {{"
        " xs = Gather <axis = 1> (x, swap)"
        " ax = Mul (aG, x)"
        " bx = Mul (bG, xs)"
        " moved = Add (ax, bx)"
        " x_next = Add (moved, r)"
        "}> (start, group_first)",
        "xs_0 = Transpose <perm = [1, 0, 2, 3]> (before_first)",
    ]
    lines += [f"to_columns = Constant <value = int64[3] {{0, -1, {channels}}}> ()"]
    if group == 1:
        return [*lines, "before_columns = Reshape (xs_0, to_columns)"]
    lines += ["x_0 = Gather <axis = 2> (xs_0, swap)"]
    for g in range(group - 1):
        lines += [
            f"g_{g} = Constant <value_int = {g}> ()",
            f"r_{g} = Gather <axis = 2> (lifted, g_{g})",
            f"ax_{g} = Mul (x_{g}, aT)",
            f"bx_{g} = Mul (xs_{g}, bT)",
            f"moved_{g} = Add (ax_{g}, bx_{g})",
            f"x_{g + 1} = Add (moved_{g}, r_{g})",
            f"xs_{g + 1} = Gather <axis = 2> (x_{g + 1}, swap)",
        ]
    return [
        *lines,
        f"before_groups = Concat <axis = 2> ({', '.join(f'xs_{g}' for g in range(group))})",
        "before_filled = Reshape (before_groups, to_columns)",
        "before_columns = Slice (before_filled, zero1, rows, order_axis)",
    ]


def _filled_groups(plan: Plan) -> list[str]:
    """Chunks that complete the last group: only in the states, which are few, not in the samples."""
    if plan.group == 1:
        return ["arriving_filled = Identity (arriving_columns)"]
    return [
        "filled_time = Add (time, missing)",
        "chunk_count = Div (filled_time, t1)",
        f"rows_of_chunk = Constant <value = int64[1] {{{plan.order}}}> ()",
        "rows = Mul (chunk_count, rows_of_chunk)",
        "negative_rows = Neg (rows)",
        f"group_rows = Constant <value = int64[1] {{{plan.group * plan.order}}}> ()",
        "missing_rows = Mod (negative_rows, group_rows)",
        "rows_front = Constant <value = int64[4] {0, 0, 0, 0}> ()",
        "rows_pads = Concat <axis = 0> (rows_front, missing_rows, zero1)",
        "arriving_filled = Pad (arriving_columns, rows_pads)",
    ]
