"""GELU written in the order of operations that onnxruntime recognises and computes in one kernel.

The exporter's own order, ``x (0.5 (1 + erf(x / sqrt 2)))``, is not recognised and runs as five passes over memory.
"""

from __future__ import annotations

import onnx_ir as ir

from ssm2edge.lowering.building import Builder

NAME = "Gelu"


def gelu(op: Builder, x: ir.Value) -> tuple[ir.Value]:
    """Build the exact form."""
    error = op.Erf(op.Div(x, op.number(1.4142135381698608)))
    doubled = op.Mul(x, op.Add(error, op.number(1.0)))
    return (op.Mul(doubled, op.number(0.5)),)
