"""One system of many inputs and outputs, linear or with quadratic outputs.

    x[k+1] = A x[k] + B u[k]        y[k] = C x[k] + D u[k]  (+ W (V x[k])^2)

or ``y[k] = C x[k+1] + D * u[k]`` with a vector D, or without one, where the outputs read the state after the sample.
A is the 2 x 2 sections of :mod:`ssm2edge.systems.mimo_form`.  Quadratic outputs need every state, so that all forms compute the
states first.  Over chunks of T samples, with x the state before a chunk:

    x[i] = A^i x + sum_{j < i} A^(i-1-j) B u[j]        i = 0 .. T, the last being the state before the next chunk

(from 1 on where outputs read the states after the samples), which is a product of the chunk, its samples side by side, with a
block-triangular matrix.  Dense products of that size are faster in onnxruntime than the fewer multiply-adds of 2 x 2 sections,
which need time and states transposed before and after.

The states before the chunks obey an equation of the same form (:mod:`ssm2edge.lowering.mimo_chunk`).  States that leave the graph
are rounded (:mod:`ssm2edge.lowering.building`).

Every constant but the system's own is computed in the graph, in float64 from the float32 poles the recurrence uses, and folded
when the runtime loads it: files stay near the size of the parameters, and all forms are the same system.
"""

from __future__ import annotations

import math

import onnx_ir as ir

from ssm2edge.lowering.building import Builder
from ssm2edge.lowering.mimo_chunk import Chunk, Walk, chunk_constants, states_before
from ssm2edge.lowering.mimo_matrices import Matrices, matrices, through
from ssm2edge.lowering.mimo_plan import MimoPlan
from ssm2edge.lowering.mimo_step import merged, reading_after, recurrent
from ssm2edge.lowering.siso_block import flushed


def sequence(op: Builder, plan: MimoPlan, u: ir.Value, *constants: ir.Value) -> tuple[ir.Value]:
    """Build the outputs of whole sequences (batch, time, inputs) from zero states; constants are a, b, B, C[, D][, V, W].

    Chunks give the states after their samples; of samples that come one later, these are the states before them.
    """
    T, n, system = plan.block, plan.order, matrices(op, plan, constants)
    B = op.transposed(op.as_double(system.B)) if plan.driven == plan.inputs else None
    chunk = chunk_constants(op, op.transposed(op.as_double(system.A)), n, T, B, plan.driven, first=1)
    # Cut time into chunks that make whole groups, the last ones filled with zeros; the states may be far fewer than the inputs.
    driving, time = _drive(op, plan, system, u), op.Shape(u, start=1, end=2)
    zero, one, end = op.integers(0), op.integers(1), op.integers(T * n)
    missing = op.Mod(op.Neg(time), op.integers(T * math.prod(plan.groups)))
    before, behind = zero, missing
    if not plan.after_sample:
        # One sample later, by pads that other runtimes take: none is negative.
        driving = op.Slice(driving, zero, op.Add(time, op.Sub(missing, one)), one)
        before, behind = one, op.Sub(missing, op.Min(missing, one))
    pads = op.Concat(zero, before, op.integers(0, 0), behind, zero, axis=0)
    chunks = op.Reshape(op.Pad(driving, pads), op.integers(0, -1, T * plan.driven))
    # States within each chunk from zero, and what each chunk adds to the next one's state.
    from_zero = op.MatMul(chunks, chunk.inward)
    added = op.Slice(from_zero, op.integers((T - 1) * n), end, op.integers(-1))
    start = op.filled(0.0, op.Concat(op.Shape(u, start=0, end=1), op.integers(n), axis=0))
    starts, _ = states_before(op, Walk(n, plan.groups), added, chunk.power, start)
    after = op.Reshape(op.Add(from_zero, op.MatMul(starts, chunk.outward)), op.integers(0, -1, n))
    x = op.Slice(after, zero, time, one)
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
    """Build a block in one product."""
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
    T, n = plan.chunk, plan.order
    if plan.after_sample:
        return found, op.Slice(found, op.integers((T - 1) * n), op.integers(T * n), op.integers(-1))
    read, end = op.several("Split", 2, found, op.integers(T * n, n), axis=-1)
    return read, end


def _unrolled(op: Builder, plan: MimoPlan, system: Matrices, u: ir.Value, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Build a long block: products within its chunks, and what passes from chunk to chunk."""
    T, n, one = plan.chunk, plan.order, op.integers(1)
    chunk = _chunk_constants(op, plan, system)
    rows = op.Reshape(_drive(op, plan, system, u), op.integers(0, plan.parts, T * plan.driven))
    from_zero, added = _parted(op, plan, op.MatMul(rows, chunk.inward))
    before, end = states_before(op, Walk(n, plan.groups, plan.parts), added, chunk.power, x)
    states = op.Reshape(op.Add(from_zero, op.MatMul(before, _read(op, plan, chunk))), op.integers(0, plan.block, n))
    squared = states
    if plan.after_sample and plan.squares:
        squared = op.Concat(op.Unsqueeze(x, one), op.Slice(states, op.integers(0), op.integers(-1), one), axis=1)
    return _outputs(op, plan, system, states, squared, u), flushed(op, end)


def _read(op: Builder, plan: MimoPlan, chunk: Chunk) -> ir.Value:
    """Return what takes the state before a chunk to the states that outputs read."""
    return op.Slice(chunk.outward, op.integers(0), op.integers(plan.chunk * plan.order), op.integers(1))


def _outputs(op: Builder, plan: MimoPlan, system: Matrices, states: ir.Value, squared: ir.Value, samples: ir.Value) -> ir.Value:
    """Build outputs from the states they read and those that squares read."""
    C = op.transposed(system.C)
    if plan.feedthrough == "full" and system.D is not None:
        # Samples and states side by side: a copy costs less than the sum of two products.
        both = op.Concat(op.transposed(system.D), C, axis=0)
        linear = op.MatMul(op.Concat(samples, states, axis=-1), both)
    else:
        linear = through(op, plan, system, op.MatMul(states, C), samples)
    if system.V is None or system.W is None:
        return linear
    directions = op.MatMul(squared, op.transposed(system.V))
    return op.Add(linear, op.MatMul(op.Mul(directions, directions), op.transposed(system.W)))


def _drive(op: Builder, plan: MimoPlan, system: Matrices, samples: ir.Value) -> ir.Value:
    """Return what a chunk's product starts from: the samples, or B times them where there are fewer states than inputs."""
    return samples if plan.driven == plan.inputs else op.MatMul(samples, op.transposed(system.B))


def _chunk_constants(op: Builder, plan: MimoPlan, system: Matrices) -> Chunk:
    """Build the matrices of a plan's chunks, in rows."""
    B = op.transposed(op.as_double(system.B)) if plan.driven == plan.inputs else None
    first = 1 if plan.after_sample else 0
    return chunk_constants(op, op.transposed(op.as_double(system.A)), plan.order, plan.chunk, B, plan.driven, first)
