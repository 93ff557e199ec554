"""The matrices of one system of many inputs and outputs in a graph, which all forms have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from ssm2edge.lowering.building import Builder
from ssm2edge.lowering.mimo_plan import MimoPlan
from ssm2edge.systems.real_coordinates import swap_indices


@dataclass(frozen=True)
class Matrices:
    """The constants of a system as they are stored, and A, dense in float32: a on the diagonal, b beside it.

    Attributes
    ----------
    A, identity
        ``(order, order)``.
    B, C, D, V, W
        As in :class:`ssm2edge.systems.mimo_form.MimoSections`; None where the system has none.
    """

    A: ir.Value
    identity: ir.Value
    B: ir.Value
    C: ir.Value
    D: ir.Value | None
    V: ir.Value | None
    W: ir.Value | None


def matrices(op: Builder, plan: MimoPlan, constants: Sequence[ir.Value]) -> Matrices:
    """Build the matrices from an operator's constants, a, b, B, C[, D][, V, W]."""
    a, b, B, C, *rest = constants
    D = rest.pop(0) if plan.feedthrough != "none" else None
    V, W = rest if plan.squares else (None, None)
    n, swap, column = plan.order, swap_indices(plan.order), op.integers(1)
    # In an odd order the last state has no partner: its row of the swapped identity is empty, whatever b says.
    partner = op.numbers(*(float(swap[j] != j) for j in range(n)))
    identity = op.EyeLike(op.filled(0.0, op.integers(n, n)))
    beside = op.Mul(op.Gather(identity, op.integers(*swap), axis=0), op.Unsqueeze(op.Mul(b, partner), column))
    A = op.Add(op.Mul(identity, op.Unsqueeze(a, column)), beside)
    return Matrices(A, identity, B, C, D, V, W)


def through(op: Builder, plan: MimoPlan, system: Matrices, outputs: ir.Value, samples: ir.Value) -> ir.Value:
    """Add to outputs what the samples contribute directly."""
    if system.D is None:
        return outputs
    if plan.feedthrough == "diagonal":
        return op.Add(outputs, op.Mul(samples, system.D))
    return op.Add(outputs, op.MatMul(samples, op.transposed(system.D)))
