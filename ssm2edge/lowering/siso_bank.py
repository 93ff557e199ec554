"""Whole sequences through banks of SISO channels in unit-input real form.

Every constant but a, b, c, d is computed in the graph, in float64 from the float32 poles the recurrence uses, and folded when
the runtime loads it: files stay near the size of the parameters, and all forms are the same system.

With x the state before a chunk and u, y its T samples :

    y  = Toep u + O x          Toep[i, j] = h[i - j], lower triangular, the feedthrough on the diagonal;  O[i] = c A^i
    x' = A^T x + R u           R[:, j] = A^(T - 1 - j) 1

A is the 2 x 2 sections of :mod:`ssm2edge.systems.real_form`: (A x) = a x + b swap(x), with powers of the same structure,
A^(s+t) = (a_s a_t + b_s swap(b_t), a_s b_t + b_s swap(a_t)).

States never become subnormal numbers: with f = 2^-70 (:mod:`ssm2edge.lowering.building`), f - A f is added at every step, and
where a state starts a block, adding and subtracting f rounds it.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from ssm2edge.lowering.building import FLUSH, Builder
from ssm2edge.lowering.plan import Plan
from ssm2edge.systems.real_coordinates import swap_indices

GRAIN = 2.0**-44
"""float64 constants are rounded to multiples of 2^-96 before they become float32."""

FAR = -(2**63) + 1
"""End of a slice that runs backwards to the first element."""


def swapped(op: Builder, plan: Plan, x: ir.Value, axis: int) -> ir.Value:
    """Exchange the two states of each section."""
    return op.Gather(x, op.integers(*swap_indices(plan.order)), axis=axis)


@dataclass(frozen=True)
class Sections:
    """Sections a, b, or tables of them."""

    a: ir.Value
    b: ir.Value


def powers(op: Builder, plan: Plan, base: Sections, count: int) -> Sections:
    """Build the table (channels, order, count) of the powers k < count of sections (channels, order), by doubling."""
    last = op.integers(-1)
    step = Sections(op.Unsqueeze(base.a, last), op.Unsqueeze(base.b, last))
    zero = op.Sub(step.b, step.b)
    table = Sections(op.Add(zero, op.double(1.0)), zero)
    # A table of A^0 .. A^(length - 1), and the power A^length to double it by.
    length = 1
    while length < count:
        higher = _product(op, plan, step, table)
        table = Sections(op.Concat(table.a, higher.a, axis=-1), op.Concat(table.b, higher.b, axis=-1))
        length *= 2
        if length < count:
            step = _product(op, plan, step, step)
    first, end = op.integers(0), op.integers(count)
    return Sections(op.Slice(table.a, first, end, last), op.Slice(table.b, first, end, last))


def _product(op: Builder, plan: Plan, one: Sections, other: Sections) -> Sections:
    swap_a, swap_b = swapped(op, plan, other.a, 1), swapped(op, plan, other.b, 1)
    a = op.Add(op.Mul(one.a, other.a), op.Mul(one.b, swap_b))
    return Sections(a, op.Add(op.Mul(one.a, other.b), op.Mul(one.b, swap_a)))


@dataclass(frozen=True)
class Chunk:
    """Matrices of one chunk in float64.

    Attributes
    ----------
    kernel
        h[0] = d, h[k] = c A^(k-1) 1, as (channels, T).
    toeplitz
        Toep^T (channels, T, T).
    reach
        R^T (channels, T, order).
    outward
        O^T (channels, order, T).
    power
        Sections of A^T (channels, order).
    """

    kernel: ir.Value
    toeplitz: ir.Value
    reach: ir.Value
    outward: ir.Value
    power: Sections


def chunk_constants(op: Builder, plan: Plan, a: ir.Value, b: ir.Value, c: ir.Value, d: ir.Value) -> Chunk:
    """Build the matrices of a plan's chunks."""
    T = plan.block
    last, zero = op.integers(-1), op.integers(0)
    table = powers(op, plan, Sections(op.as_double(a), op.as_double(b)), T + 1)
    c64, d64 = (op.Unsqueeze(op.as_double(x), last) for x in (c, d))
    ones = op.Slice(op.Add(table.a, table.b), zero, op.integers(T), last)  # A^k 1
    markov = op.ReduceSum(op.Mul(ones, c64), op.integers(1), keepdims=0)
    kernel = op.Concat(d64, op.Slice(markov, zero, op.integers(T - 1), last), axis=-1)
    # Toep^T[j, i] = h[i - j]: position T + i - j of the kernel behind T zeros.
    padded = op.Concat(op.Sub(kernel, kernel), kernel, axis=-1)
    times = op.Range(op.integer(0), op.integer(T), op.integer(1))
    lag = op.Sub(op.Unsqueeze(times, zero), op.Unsqueeze(times, last))
    toeplitz = op.Gather(padded, op.Add(lag, op.integer(T)), axis=-1)
    # R^T[j] = A^(T-1-j) 1
    backwards = op.Slice(ones, op.integers(T - 1), op.integers(FAR), last, last)
    reach = op.Transpose(backwards, perm=[0, 2, 1])
    # O[i] = c A^i
    ca, cb = (op.Mul(op.Slice(x, zero, op.integers(T), last), c64) for x in (table.a, table.b))
    outward = op.Add(ca, swapped(op, plan, cb, 1))
    power = Sections(*(op.Gather(x, op.integer(T), axis=-1) for x in (table.a, table.b)))
    return Chunk(kernel, toeplitz, reach, outward, power)


def constant32(op: Builder, constant: ir.Value) -> ir.Value:
    """Round a float64 constant to float32, without the powers of quick poles that would be subnormal numbers."""
    grain = op.double(GRAIN)
    return op.as_float(op.Sub(op.Add(constant, grain), grain))


def sequence(op: Builder, plan: Plan, u: ir.Value, a: ir.Value, b: ir.Value, c: ir.Value, d: ir.Value) -> tuple[ir.Value]:
    """Build the outputs of whole sequences (batch, time, channels) of any length >= 1 from zero states.

    Time is moved by transposing matrices only; onnxruntime is ten times slower at other permutations.  It is also five times
    slower at matrices whose rows are a power of two long, as sequences often are: rows of whole chunks are transposed, and what
    is too long is cut off where time comes first.
    """
    T, n = plan.block, plan.order
    chunk, zero = chunk_constants(op, plan, a, b, c, d), op.integers(0)
    onto = constant32(op, op.Concat(chunk.toeplitz, swapped(op, plan, chunk.outward, 1), axis=1))
    # Cut time into chunks, the last one filled with zeros.
    time = op.Shape(u, start=1, end=2)
    missing = op.Mod(op.Neg(time), op.integers(T))
    filled = op.Pad(u, op.Concat(op.integers(0, 0, 0, 0), missing, zero, axis=0))
    chunks = op.Reshape(op.Transpose(filled, perm=[0, 2, 1]), op.integers(0, 0, -1, T))
    # What arrives in the state in each chunk, as (batch, chunks order, channels), becomes swap(x) before each chunk.
    to_rows = op.integers(0, 0, -1)
    arriving_rows = op.Reshape(op.MatMul(chunks, constant32(op, chunk.reach)), to_rows)
    arriving = op.Transpose(arriving_rows, perm=[0, 2, 1])
    rows = op.Mul(op.Div(op.Add(time, missing), op.integers(T)), op.integers(n))
    before = _states_before_chunks(op, plan, chunk, arriving, rows, op.Shape(u, start=0, end=1))
    before_chunks = op.Reshape(op.Transpose(before, perm=[0, 2, 1]), op.integers(0, 0, -1, n))
    whole = op.MatMul(op.Concat(chunks, before_chunks, axis=-1), onto)
    by_time = op.Transpose(op.Reshape(whole, to_rows), perm=[0, 2, 1])
    return (op.Slice(by_time, zero, time, op.integers(1)),)


def _states_before_chunks(op: Builder, plan: Plan, chunk: Chunk, arriving: ir.Value, rows: ir.Value, batch: ir.Value) -> ir.Value:
    """Turn what arrives in each chunk into swap(x) before it, both (batch, rows = chunks order, channels).

    A Scan walks over groups of G chunks.  What a whole group adds and the states inside a group are found for all groups at once:

        r_group = sum_g A^(T (G - 1 - g)) r_g        x_(g+1) = A^T x_g + r_g

    Every r is lifted by f - A^T f with f = 2^-70, so that every state is x + f, and what a group adds is r_group + f - A^(T G) f:
    no state can become a subnormal number, no node is spent on flushing, and outputs that are c f off cannot show it.
    """
    n, channels, group = plan.order, plan.channels, plan.group
    aT, bT = op.transposed(chunk.power.a), op.transposed(chunk.power.b)
    stays = op.Sub(op.double(1.0), op.Add(aT, bT))
    lift = op.as_float(op.Mul(op.as_double(op.numbers(FLUSH)), stays))
    power = Sections(constant32(op, aT), constant32(op, bT))
    if group > 1:
        # Chunks that complete the last group: only in the states, which are few, not in the samples.
        missing = op.Mod(op.Neg(rows), op.integers(group * n))
        arriving = op.Pad(arriving, op.Concat(op.integers(0, 0, 0, 0), missing, op.integers(0), axis=0))
    lifted = op.Add(op.Reshape(arriving, op.integers(0, -1, group, n, channels)), lift)
    whole, of_group = power, op.Squeeze(lifted, op.integers(2)) if group == 1 else lifted
    if group > 1:
        table = powers(op, plan, chunk.power, group + 1)
        whole = Sections(*(_power(op, x, group) for x in (table.a, table.b)))
        left = Sections(*(_left_in_group(op, x, group) for x in (table.a, table.b)))
        turned = op.Add(op.Mul(lifted, left.a), op.Mul(swapped(op, plan, lifted, 3), left.b))
        of_group = op.ReduceSum(turned, op.integers(2), keepdims=0)
    first = op.Transpose(of_group, perm=[1, 0, 2, 3])
    start = op.filled(FLUSH, op.Concat(batch, op.integers(n, channels), axis=0))
    _, before_first = op.several("Scan", 2, start, first, num_scan_inputs=1, body=_carry(op, plan, whole))
    swap_x = op.Transpose(before_first, perm=[1, 0, 2, 3])
    to_columns = op.integers(0, -1, channels)
    if group == 1:
        return op.Reshape(swap_x, to_columns)
    x, found = swapped(op, plan, swap_x, 2), [swap_x]
    for g in range(group - 1):
        moved = op.Add(op.Mul(x, power.a), op.Mul(found[-1], power.b))
        x = op.Add(moved, op.Gather(lifted, op.integer(g), axis=2))
        found.append(swapped(op, plan, x, 2))
    before = op.Reshape(op.Concat(*found, axis=2), to_columns)
    return op.Slice(before, op.integers(0), rows, op.integers(1))


def _carry(op: Builder, plan: Plan, whole: Sections) -> ir.Graph:
    """Build the body of the Scan: the state after a group of chunks, and swap(x) before it.

    Stacking swap(x), which the body computes anyway, saves a node a step.
    """
    shape = ir.Shape(["b", plan.order, plan.channels])
    x, r = (ir.val(name, ir.DataType.FLOAT, shape) for name in ("x", "r"))
    swap, body = op.integers(*swap_indices(plan.order)), Builder()
    swap_x = body.Gather(x, swap, axis=1)
    following = body.Add(body.Add(body.Mul(whole.a, x), body.Mul(whole.b, swap_x)), r)
    for value in (following, swap_x):
        value.dtype, value.shape = ir.DataType.FLOAT, shape
    return ir.Graph([x, r], [following, swap_x], nodes=body.nodes, name="carry")


def _power(op: Builder, table: ir.Value, exponent: int) -> ir.Value:
    """Build one power of a table, float32 (order, channels)."""
    return constant32(op, op.transposed(op.Gather(table, op.integer(exponent), axis=-1)))


def _left_in_group(op: Builder, table: ir.Value, group: int) -> ir.Value:
    """Build the powers that still act on each chunk of a group until its end, float32 (group, order, channels)."""
    backwards = op.Slice(table, op.integers(group - 1), op.integers(FAR), op.integers(-1), op.integers(-1))
    return constant32(op, op.Transpose(backwards, perm=[2, 1, 0]))
