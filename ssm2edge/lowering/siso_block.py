"""One block through a bank of SISO channels, with states in and out.

    y = Toep u + O x        x' = A^T x + R u        (see :mod:`ssm2edge.lowering.siso_bank`)

In the recurrent form (T = 1) and the elementwise form a block is three kernels: what the states before it alone decide, O x and
A^T x; its outputs; and the states after it.  The first does not wait for the layers below, and no layer above waits for the last,
so that these two can be computed for all layers at once (:mod:`ssm2edge.export.passes.join_states`): of a small bank a node
costs more than its arithmetic.  The chunked form is one matrix product for each channel.

States stay out of the subnormal range because A^T x is lifted by f - A^T f with f = 2^-70: silence ends at states of f, which no
float32 signal could show, and on the way there they are sums of numbers near f, whose roundings are far above 2^-126.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ssm2edge.lowering.building import FLUSH, Builder
from ssm2edge.lowering.plan import Plan
from ssm2edge.lowering.siso_bank import FAR, Sections, chunk_constants, constant32, swapped


def states(op: Builder, plan: Plan, x: ir.Value, a: ir.Value, b: ir.Value, c: ir.Value, d: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Build A^T x and O x of states (batch, order, channels).

    The second is (batch, channels) in the recurrent form and (batch, T, channels) in the elementwise one.
    """
    if plan.form == "recurrent":
        moved = _moved(op, plan, x, Sections(op.transposed(a), op.transposed(b)))
        # onnxruntime multiplies by a row of ones a third faster than it sums over an axis.
        ones = op.filled(1.0, op.integers(1, plan.order))
        return moved, op.Squeeze(op.MatMul(ones, op.Mul(op.transposed(c), x)), op.integers(1))
    # Sums over the states of elementwise products: no matrix of a channel is large enough to be worth a product of its own.
    chunk = chunk_constants(op, plan, a, b, c, d)
    power = Sections(*(constant32(op, op.transposed(value)) for value in (chunk.power.a, chunk.power.b)))
    onto = constant32(op, op.Transpose(chunk.outward, perm=[2, 1, 0]))
    shares = op.Mul(onto, op.Unsqueeze(x, op.integers(1)))
    return _moved(op, plan, x, power), op.ReduceSum(shares, op.integers(2), keepdims=0)


def outputs(
    op: Builder, plan: Plan, u: ir.Value, seen: ir.Value, a: ir.Value, b: ir.Value, c: ir.Value, d: ir.Value
) -> tuple[ir.Value]:
    """Build outputs of samples, both in the shape of ``seen``.

    The Toeplitz part is a depthwise convolution over time, in the 2-D spelling that onnxruntime blocks over channels.
    """
    if plan.form == "recurrent":
        return (op.Add(seen, op.Mul(u, d)),)
    T, last = plan.block, op.integers(-1)
    kernel = chunk_constants(op, plan, a, b, c, d).kernel
    latest_first = op.Slice(kernel, op.integers(T - 1), op.integers(FAR), last, last)
    weight = constant32(op, op.Reshape(latest_first, op.integers(plan.channels, 1, 1, T)))
    by_channel = op.Transpose(op.Unsqueeze(u, op.integers(1)), perm=[0, 3, 1, 2])
    filtered = op.Conv(by_channel, weight, group=plan.channels, pads=[0, T - 1, 0, 0])
    within = op.Squeeze(op.Transpose(filtered, perm=[0, 2, 3, 1]), op.integers(1))
    return (op.Add(within, seen),)


def arrivals(
    op: Builder, plan: Plan, u: ir.Value, moved: ir.Value, a: ir.Value, b: ir.Value, c: ir.Value, d: ir.Value
) -> tuple[ir.Value]:
    """Build the states after a block."""
    samples = op.Unsqueeze(u, op.integers(1))
    if plan.form == "recurrent":
        return (op.Add(moved, samples),)
    reach = op.Transpose(chunk_constants(op, plan, a, b, c, d).reach, perm=[2, 1, 0])
    shares = op.Mul(constant32(op, reach), samples)
    return (op.Add(moved, op.ReduceSum(shares, op.integers(2), keepdims=0)),)


def chunk(
    op: Builder, plan: Plan, u: ir.Value, x: ir.Value, a: ir.Value, b: ir.Value, c: ir.Value, d: ir.Value, *, count: int = 1
) -> tuple[ir.Value, ir.Value]:
    """Build outputs and next states of a block (batch, channels, count T), states (batch, order, channels), chunk by chunk.

    One product for everything, [y | x'] = [u | x] [Toep^T, R^T; O^T, A^T], with A^T as a full matrix of each channel.
    The n^2 multiply-adds more than sections need are paid back by half the nodes, up to orders of about 50.
    """
    T, n, place = plan.block, plan.order, op.integers(2)
    chunk = chunk_constants(op, plan, a, b, c, d)
    blank = op.ConstantOfShape(op.integers(n, n), value=ir.tensor(np.zeros(1)))
    unit, row = op.EyeLike(blank), op.integers(1)
    diagonal = op.Mul(unit, op.Unsqueeze(chunk.power.a, row))
    across = op.Mul(swapped(op, plan, unit, 0), op.Unsqueeze(chunk.power.b, row))
    from_samples = op.Concat(chunk.toeplitz, chunk.reach, axis=-1)
    from_states = op.Concat(chunk.outward, op.Add(diagonal, across), axis=-1)
    matrix = constant32(op, op.Concat(from_samples, from_states, axis=1))
    turned, sizes = op.Transpose(x, perm=[0, 2, 1]), op.integers(T, n)
    if count == 1:
        found = op.MatMul(op.Unsqueeze(op.Concat(u, turned, axis=-1), place), matrix)
        y, after = op.several("Split", 2, op.Squeeze(found, place), sizes, axis=-1)
        return y, op.Transpose(flushed(op, after), perm=[0, 2, 1])
    # A chunk is one row for each channel: samples (batch, channels, count, T), states (batch, channels, 1, order).
    rows = op.Reshape(u, op.integers(0, 0, count, T))
    state, outputs = op.Unsqueeze(turned, place), list[ir.Value]()
    for samples in op.several("Split", count, rows, op.integers(*(1 for _ in range(count))), axis=2):
        y, state = op.several("Split", 2, op.MatMul(op.Concat(samples, state, axis=-1), matrix), sizes, axis=-1)
        outputs.append(y)
    whole = op.Reshape(op.Concat(*outputs, axis=2), op.integers(0, 0, count * T))
    return whole, op.Transpose(flushed(op, op.Squeeze(state, place)), perm=[0, 2, 1])


def flushed(op: Builder, states: ir.Value) -> ir.Value:
    """Round states so that none is a subnormal number."""
    flush = op.numbers(FLUSH)
    return op.Sub(op.Add(states, flush), flush)


def _moved(op: Builder, plan: Plan, x: ir.Value, sections: Sections) -> ir.Value:
    """Build A^T x + f - A^T f of the sections (order, channels)."""
    stays = op.Sub(op.Sub(op.numbers(1.0), sections.a), sections.b)
    turned = op.Add(op.Mul(sections.a, x), op.Mul(sections.b, swapped(op, plan, x, 1)))
    return op.Add(turned, op.Mul(stays, op.numbers(FLUSH)))
