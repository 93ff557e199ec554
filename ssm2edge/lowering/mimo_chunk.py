"""The matrices of one chunk of one system of many inputs and outputs, and the walk over its chunks.

States are rows, so that a system is ``x[k+1] = x[k] A + u[k] B`` here.  The states before chunks obey the same equation, with a
power of A for A and what each chunk adds for B u: groups of chunks are computed as chunks of samples are, and a ``Scan`` walks
over the groups.  An ``RNN`` whose activation is ``Affine`` would do it in one node, but other runtimes than onnxruntime compute
another activation without a word.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from ssm2edge.lowering.building import FLUSH, Builder


@dataclass(frozen=True)
class Chunk:
    """Matrices of one chunk.

    With S states from before the chunk to after it, T + 1 of them; T where the first is not needed.

    Attributes
    ----------
    inward
        ``(T driven, S n)``, float32.
    outward
        ``(n, S n)``, float32.
    power
        The T-th power of A, float64.
    """

    inward: ir.Value
    outward: ir.Value
    power: ir.Value


@dataclass(frozen=True)
class Walk:
    """The way over chunks.

    Attributes
    ----------
    order
        Number of states.
    groups
        Chunks in a group, groups in a group of groups, and so on.
    count
        Number of chunks; None if the graph takes any number that the groups divide.
    """

    order: int
    groups: tuple[int, ...] = ()
    count: int | None = None


def chunk_constants(op: Builder, A: ir.Value, n: int, T: int, B: ir.Value | None, driven: int, first: int) -> Chunk:
    """Build the matrices of chunks of T samples.

    Parameters
    ----------
    op
        The builder.
    A, B
        Float64 ``(n, n)``, ``(driven, n)``; no B where what arrives is what is added to the states.
    n, T, driven
        Order, samples in a chunk, and numbers in a sample.
    first
        First state that is needed: 0, or 1 for that after the first sample.
    """
    zero, end, states = op.integers(0), op.integers(T + 1), T + 1 - first
    # table[k] = A^k for k = 0 .. T, by doubling, in float64.
    factor = op.Unsqueeze(A, zero)
    table, length = op.Unsqueeze(op.EyeLike(A), zero), 1
    while length < T + 1:
        table = op.Concat(table, op.MatMul(table, factor), axis=0)
        length *= 2
        if length < T + 1:
            factor = op.MatMul(factor, factor)
    powers = op.Slice(table, zero, end, zero)
    reach = op.Slice(powers, zero, op.integers(T), zero)
    if B is not None:
        reach = op.MatMul(B, reach)
    # Sample j reaches state i with the power i - 1 - j; behind T zeros that stands at T + i - 1 - j.
    behind_zeros = op.Concat(op.Sub(reach, reach), reach, axis=0)
    from_sample = op.Range(op.integer(0), op.integer(T), op.integer(1))
    to_state = op.Range(op.integer(first), op.integer(T + 1), op.integer(1))
    place = op.Add(op.Sub(to_state, op.Unsqueeze(from_sample, op.integers(1))), op.integer(T - 1))
    rows = op.Transpose(op.Gather(behind_zeros, place, axis=0), perm=[0, 2, 1, 3])
    inward = op.as_float(op.Reshape(rows, op.integers(T * driven, states * n)))
    onward = op.Transpose(op.Slice(powers, op.integers(first), end, zero), perm=[1, 0, 2])
    outward = op.as_float(op.Reshape(onward, op.integers(n, states * n)))
    return Chunk(inward, outward, op.Gather(powers, op.integer(T), axis=0))


def states_before(op: Builder, walk: Walk, added: ir.Value, power: ir.Value, start: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Build the states before all chunks ``(batch, chunks, n)`` and that after the last ``(batch, n)``.

    Parameters
    ----------
    op
        The builder.
    walk
        Sizes.
    added
        What each chunk adds to the state after it, ``(batch, chunks, n)``.
    power
        What takes the state before a chunk to that after it, float64 ``(n, n)``.
    start
        The state before the first chunk, ``(batch, n)``.
    """
    zero, one = op.integers(0), op.integers(1)
    if walk.count == 1:
        return op.Unsqueeze(start, one), op.Add(op.MatMul(start, op.as_float(power)), op.Squeeze(added, one))
    if not walk.groups:
        return _scan(op, walk.order, added, power, start)
    n, (group, *further) = walk.order, walk.groups
    chunk = chunk_constants(op, power, n, group, None, n, first=0)
    groups = op.Reshape(added, op.integers(0, -1, group * n))
    from_zero, of_group = op.several("Split", 2, op.MatMul(groups, chunk.inward), op.integers(group * n, n), axis=-1)
    count = None if walk.count is None else walk.count // group
    starts, end = states_before(op, Walk(n, tuple(further), count), of_group, chunk.power, start)
    within = op.Slice(chunk.outward, zero, op.integers(group * n), one)
    return op.Reshape(op.Add(from_zero, op.MatMul(starts, within)), op.integers(0, -1, n)), end


def _scan(op: Builder, n: int, added: ir.Value, power: ir.Value, start: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Walk chunk by chunk; every step adds f - f A, so that states are f = 2^-70 off and never become subnormal numbers."""
    flush = op.as_double(op.numbers(FLUSH))
    lift = op.as_float(op.Mul(flush, op.Sub(op.double(1.0), op.ReduceSum(power, op.integers(0), keepdims=0))))
    by_chunk = op.Transpose(op.Add(added, lift), perm=[1, 0, 2])
    body, shape, matrix = Builder(), ir.Shape(["b", n]), op.as_float(power)
    x, r = (ir.val(name, ir.DataType.FLOAT, shape) for name in ("x", "r"))
    following, before = body.Add(body.MatMul(x, matrix), r), body.Identity(x)
    for value in (following, before):
        value.dtype, value.shape = ir.DataType.FLOAT, shape
    step = ir.Graph([x, r], [following, before], nodes=body.nodes, name="walk")
    end, known = op.several("Scan", 2, op.Add(start, op.numbers(FLUSH)), by_chunk, num_scan_inputs=1, body=step)
    return op.Transpose(known, perm=[1, 0, 2]), op.Sub(end, op.numbers(FLUSH))
