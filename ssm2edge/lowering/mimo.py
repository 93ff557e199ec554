"""One system of many inputs and outputs, linear or with quadratic outputs.

    x[k+1] = A x[k] + B u[k]        y[k] = C x[k] + D u[k]  (+ W (V x[k])^2)

or ``y[k] = C x[k+1] + D * u[k]`` with a vector D, or without one, where the outputs read the state after the sample.
A is the 2 x 2 sections of :mod:`ssm2edge.systems.mimo_form`.  Quadratic outputs need every state, so that all forms compute the
states first.  Over chunks of T samples, with x the state before a chunk:

    x[i] = A^i x + sum_{j < i} A^(i-1-j) B u[j]        i = 0 .. T, the last being the state before the next chunk

(from 1 on where outputs read the states after the samples), which is a product of the chunk, its samples side by side, with a
block-triangular matrix.  Dense products of that size are faster in onnxruntime than the fewer multiply-adds of 2 x 2 sections,
which need time and states transposed before and after.

The step over the chunks is one ``RNN`` node with the activation ``Affine``: f(z) = z + 2^-70, which keeps states that decay from
becoming subnormal numbers; states that leave the graph are rounded (:mod:`ssm2edge.lowering.building`).

Every constant but the system's own is computed in the graph, in float64 from the float32 poles the recurrence uses, and folded
when the runtime loads it: files stay near the size of the parameters, and all forms are the same system.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from ssm2edge.lowering.building import FLUSH, Builder
from ssm2edge.lowering.mimo_matrices import Matrices, matrices, through
from ssm2edge.lowering.mimo_plan import MimoPlan
from ssm2edge.lowering.mimo_step import merged, reading_after, recurrent
from ssm2edge.lowering.siso_block import flushed


def sequence(op: Builder, plan: MimoPlan, u: ir.Value, *constants: ir.Value) -> tuple[ir.Value]:
    """Build the outputs of whole sequences (batch, time, inputs) from zero states; constants are a, b, B, C[, D][, V, W]."""
    T, n, system = plan.block, plan.order, matrices(op, plan, constants)
    chunk, zero, one = _chunk_constants(op, plan, system), op.integers(0), op.integers(1)
    # Cut time into chunks, the last one filled with zeros; the states may be far fewer than the inputs.
    driving, time = _drive(op, plan, system, u), op.Shape(u, start=1, end=2)
    missing = op.Mod(op.Neg(time), op.integers(T))
    samples = op.Pad(driving, op.Concat(op.integers(0, 0, 0, 0), missing, zero, axis=0))
    chunks = op.Reshape(samples, op.integers(0, -1, T * plan.driven))
    # States within each chunk from zero, and what each chunk adds to the next one's state.
    from_zero, added = _parted(op, plan, op.MatMul(chunks, chunk.inward))
    pushes = op.Transpose(added, perm=[1, 0, 2])
    after = _recurrence(op, plan, pushes, op.Unsqueeze(system.identity, zero), op.Unsqueeze(chunk.power, zero))[0]
    known = op.Slice(op.Squeeze(after, one), zero, op.integers(-1), zero)
    starts = op.Transpose(op.Pad(known, op.integers(1, 0, 0, 0, 0, 0)), perm=[1, 0, 2])
    within = op.Slice(chunk.outward, zero, op.integers(T * n), one)
    states = op.Add(from_zero, op.MatMul(starts, within))
    x = op.Slice(op.Reshape(states, op.integers(0, -1, n)), zero, time, one)
    squared = x
    if plan.after_sample and plan.squares:
        squared = op.Slice(op.Pad(x, op.integers(0, 1, 0, 0, 0, 0)), zero, time, one)
    return (_outputs(op, plan, system, x, squared, u),)


def block(op: Builder, plan: MimoPlan, u: ir.Value, x: ir.Value, *constants: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Build outputs and next states of a block (batch, T, inputs), states (batch, order); constants are as for sequences."""
    step = reading_after if plan.after_sample else recurrent
    forms = {"recurrent": step, "merged": merged, "unrolled": _unrolled, "chunked": _one_chunk}
    return forms[plan.form](op, plan, matrices(op, plan, constants), u, x)


def _one_chunk(op: Builder, plan: MimoPlan, system: Matrices, u: ir.Value, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    T, n, chunk, one = plan.block, plan.order, _chunk_constants(op, plan, system), op.integers(1)
    row = op.Reshape(_drive(op, plan, system, u), op.integers(0, T * plan.driven))
    found = op.Add(op.MatMul(row, chunk.inward), op.MatMul(x, chunk.outward))
    flat, end = _parted(op, plan, found)
    states = op.Reshape(flat, op.integers(0, T, n))
    squared = states
    if plan.after_sample and plan.squares:
        squared = op.Concat(op.Unsqueeze(x, one), op.Slice(states, op.integers(0), op.integers(-1), one), axis=1)
    return _outputs(op, plan, system, states, squared, u), flushed(op, end)


def _parted(op: Builder, plan: MimoPlan, found: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Part the states that outputs read from the last; it is among them where they read the states after the samples."""
    T, n = plan.block, plan.order
    if plan.after_sample:
        return found, op.Slice(found, op.integers((T - 1) * n), op.integers(T * n), op.integers(-1))
    read, end = op.several("Split", 2, found, op.integers(T * n, n), axis=-1)
    return read, end


def _unrolled(op: Builder, plan: MimoPlan, system: Matrices, u: ir.Value, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Build the dense recurrence in one node, which keeps the state after every sample."""
    zero, one = op.integers(0), op.integers(1)
    weights, recurrence, start = (op.Unsqueeze(value, zero) for value in (system.B, system.A, x))
    after, final = _recurrence(op, plan, op.Transpose(u, perm=[1, 0, 2]), weights, recurrence, None, None, start)
    # (T, 1, batch, n): the states before the samples are those after the ones before.
    by_time = op.Squeeze(after, one)
    before = op.Concat(start, op.Slice(by_time, zero, op.integers(-1), zero), axis=0)
    states, states_after = (op.Transpose(value, perm=[1, 0, 2]) for value in (before, by_time))
    y = _outputs(op, plan, system, states_after if plan.after_sample else states, states, u)
    return y, flushed(op, op.Squeeze(final, zero))


def _recurrence(op: Builder, plan: MimoPlan, *inputs: ir.Value | None) -> tuple[ir.Value, ir.Value]:
    """Build all states and the last of a linear recurrence that is lifted at every step."""
    affine: dict[str, Any] = {"activations": ["Affine"], "activation_alpha": [1.0], "activation_beta": [FLUSH]}
    after, final = op.several("RNN", 2, *inputs, hidden_size=plan.order, **affine)
    return after, final


def _outputs(op: Builder, plan: MimoPlan, system: Matrices, states: ir.Value, squared: ir.Value, samples: ir.Value) -> ir.Value:
    """Build outputs from the states they read and those that squares read."""
    linear = through(op, plan, system, op.MatMul(states, op.transposed(system.C)), samples)
    if system.V is None or system.W is None:
        return linear
    directions = op.MatMul(squared, op.transposed(system.V))
    return op.Add(linear, op.MatMul(op.Mul(directions, directions), op.transposed(system.W)))


def _drive(op: Builder, plan: MimoPlan, system: Matrices, samples: ir.Value) -> ir.Value:
    """Return what a chunk's product starts from: the samples, or B times them where there are fewer states than inputs."""
    return samples if plan.driven == plan.inputs else op.MatMul(samples, op.transposed(system.B))


@dataclass(frozen=True)
class Chunk:
    """Float32 matrices of one chunk, in rows.

    With S states from before the chunk to after it, T + 1 of them; T where the first is not needed.

    Attributes
    ----------
    inward
        ``(T driven, S n)``.
    outward
        ``(n, S n)``.
    power
        The T-th power of A.
    """

    inward: ir.Value
    outward: ir.Value
    power: ir.Value


def _chunk_constants(op: Builder, plan: MimoPlan, system: Matrices) -> Chunk:
    T, n = plan.block, plan.order
    first = 1 if plan.after_sample else 0
    states = T + 1 - first
    zero, end = op.integers(0), op.integers(T + 1)
    # table[k] = (A^k)^T for k = 0 .. T, by doubling, in float64.
    factor = op.Unsqueeze(op.transposed(op.as_double(system.A)), zero)
    table, length = op.Unsqueeze(op.as_double(system.identity), zero), 1
    while length < T + 1:
        table = op.Concat(table, op.MatMul(table, factor), axis=0)
        length *= 2
        if length < T + 1:
            factor = op.MatMul(factor, factor)
    powers = op.Slice(table, zero, end, zero)
    reach = op.Slice(powers, zero, op.integers(T), zero)
    if plan.driven == plan.inputs:
        reach = op.MatMul(op.transposed(op.as_double(system.B)), reach)
    # Sample j reaches state i with the power i - 1 - j; behind T zeros that stands at T + i - 1 - j.
    behind_zeros = op.Concat(op.Sub(reach, reach), reach, axis=0)
    from_sample = op.Range(op.integer(0), op.integer(T), op.integer(1))
    to_state = op.Range(op.integer(first), op.integer(T + 1), op.integer(1))
    place = op.Add(op.Sub(to_state, op.Unsqueeze(from_sample, op.integers(1))), op.integer(T - 1))
    rows = op.Transpose(op.Gather(behind_zeros, place, axis=0), perm=[0, 2, 1, 3])
    inward = op.as_float(op.Reshape(rows, op.integers(T * plan.driven, states * n)))
    onward = op.Transpose(op.Slice(powers, op.integers(first), end, zero), perm=[1, 0, 2])
    outward = op.as_float(op.Reshape(onward, op.integers(n, states * n)))
    return Chunk(inward, outward, op.as_float(op.transposed(op.Gather(powers, op.integer(T), axis=0))))
