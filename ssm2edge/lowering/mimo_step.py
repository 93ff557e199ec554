"""One sample of one system of many inputs and outputs: matrices side by side, in as few products as serve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from ssm2edge.lowering.building import Builder
from ssm2edge.lowering.mimo_matrices import Matrices, through
from ssm2edge.lowering.mimo_plan import MimoPlan
from ssm2edge.lowering.siso_block import flushed


@dataclass(frozen=True)
class Columns:
    """Columns of the one matrix that multiplies a sample and the state before it.

    Attributes
    ----------
    width
        How many they are.
    input
        Matrix ``(width, inputs)`` that takes the sample; None where it does not count.
    state
        Matrix ``(width, order)`` that takes the state.
    """

    width: int
    input: ir.Value | None
    state: ir.Value


def reading_after(op: Builder, plan: MimoPlan, system: Matrices, u: ir.Value, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Build the next state (and the squared directions) in one product, then the outputs from it."""
    sample = op.Squeeze(u, op.integers(1))
    moved, *directions = _one_product(op, plan, sample, x, [Columns(plan.order, system.B, system.A), *_directions(plan, system)])
    seen, output = moved, system.C
    if system.W is not None:
        seen = op.Concat(moved, op.Mul(directions[0], directions[0]), axis=1)
        output = op.Concat(system.C, system.W, axis=1)
    y = through(op, plan, system, op.MatMul(seen, op.transposed(output)), sample)
    return op.Unsqueeze(y, op.integers(1)), flushed(op, moved)


def merged(op: Builder, plan: MimoPlan, system: Matrices, u: ir.Value, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Build outputs that read the state after the sample in one product: small matrices stay so."""
    C = op.as_double(system.C)
    before, at_once = op.MatMul(C, op.as_double(system.A)), op.MatMul(C, op.as_double(system.B))
    if system.D is not None:
        at_once = op.Add(at_once, op.Mul(op.EyeLike(at_once), op.as_double(system.D)))
    return _reading_before(op, plan, system, u, x, Columns(plan.outputs, op.as_float(at_once), op.as_float(before)))


def recurrent(op: Builder, plan: MimoPlan, system: Matrices, u: ir.Value, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Build outputs that read the state before the sample, in one product."""
    return _reading_before(op, plan, system, u, x, Columns(plan.outputs, system.D, system.C))


def _reading_before(
    op: Builder, plan: MimoPlan, system: Matrices, u: ir.Value, x: ir.Value, linear: Columns
) -> tuple[ir.Value, ir.Value]:
    columns = [Columns(plan.order, system.B, system.A), linear, *_directions(plan, system)]
    moved, y, *directions = _one_product(op, plan, op.Squeeze(u, op.integers(1)), x, columns)
    if system.W is not None:
        y = op.Add(y, op.MatMul(op.Mul(directions[0], directions[0]), op.transposed(system.W)))
    return op.Unsqueeze(y, op.integers(1)), flushed(op, moved)


def _directions(plan: MimoPlan, system: Matrices) -> list[Columns]:
    """Return the columns of squared directions, if there are any."""
    return [] if system.V is None else [Columns(plan.squares, None, system.V)]


def _one_product(op: Builder, plan: MimoPlan, sample: ir.Value, x: ir.Value, columns: Sequence[Columns]) -> Sequence[ir.Value]:
    """Build one product of (u, x) with all matrices side by side, and what its columns give."""
    from_input = [
        op.filled(0.0, op.integers(plan.inputs, part.width)) if part.input is None else op.transposed(part.input)
        for part in columns
    ]
    from_state = [op.transposed(part.state) for part in columns]
    matrix = op.Concat(op.Concat(*from_input, axis=1), op.Concat(*from_state, axis=1), axis=0)
    found = op.MatMul(op.Concat(sample, x, axis=1), matrix)
    if len(columns) == 1:
        return [found]
    return op.several("Split", len(columns), found, op.integers(*(part.width for part in columns)), axis=1)
