"""Build the nodes of kernels one after another, with values that are objects of Python.

States of decaying modes would end in subnormal numbers, which some processors compute 5 to 30 times slower.  Adding ``FLUSH`` at
every step makes them decay to it instead of zero; adding and subtracting it rounds a state to a multiple of 2^-94.  Neither
changes anything a float32 signal could show.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

DOMAIN = "ssm2edge"
OPSET = 18
FLUSH = 2.0**-70
FLOAT, DOUBLE = int(ir.DataType.FLOAT), int(ir.DataType.DOUBLE)


class Builder:
    """Build nodes: ``op.Add(x, y)`` appends one and returns its output."""

    def __init__(self) -> None:
        self._tape = Tape()
        self._constants: dict[tuple[str, object], ir.Value] = {}

    @property
    def nodes(self) -> Sequence[ir.Node]:
        """The nodes so far, in order."""
        return self._tape.nodes

    def __getattr__(self, operator: str) -> Callable[..., ir.Value]:
        """Return a function of inputs and attributes that appends a node of the operator and returns its output."""

        def append(*inputs: ir.Value | None, **attributes: Any) -> ir.Value:
            return self._tape.op(operator, inputs, attributes)

        return append

    def several(
        self, operator: str, outputs: int, *inputs: ir.Value | None, domain: str = "", **attributes: Any
    ) -> Sequence[ir.Value]:
        """Append a node of several outputs."""
        return self._tape.op_multi_out(operator, inputs, attributes, num_outputs=outputs, domain=domain)

    def alike(self, node: ir.Node, inputs: Sequence[ir.Value | None], **changed: Any) -> ir.Value:
        """Append a node of one output like another one, on other inputs and with some other attributes."""
        attributes = {**node.attributes, **changed}
        return self._tape.op(node.op_type, inputs, attributes, domain=node.domain)

    def integers(self, *values: int) -> ir.Value:
        """Return a constant of int64 with one axis."""
        return self._constant("value_ints", values)

    def integer(self, value: int) -> ir.Value:
        """Return a constant of int64 without axes."""
        return self._constant("value_int", value)

    def numbers(self, *values: float) -> ir.Value:
        """Return a constant of float32 with one axis."""
        return self._constant("value_floats", values)

    def number(self, value: float) -> ir.Value:
        """Return a constant of float32 without axes."""
        return self._constant("value_float", value)

    def double(self, value: float) -> ir.Value:
        """Return a constant of float64 with one axis."""
        return self._constant("double", value)

    def filled(self, value: float, shape: ir.Value) -> ir.Value:
        """Append a float32 tensor of equal numbers."""
        return self.ConstantOfShape(shape, value=ir.tensor(np.array([value], np.float32)))

    def transposed(self, matrix: ir.Value) -> ir.Value:
        """Append the transpose of a matrix."""
        return self.Transpose(matrix, perm=[1, 0])

    def as_double(self, x: ir.Value) -> ir.Value:
        """Append a cast to float64."""
        return self.Cast(x, to=DOUBLE)

    def as_float(self, x: ir.Value) -> ir.Value:
        """Append a cast to float32."""
        return self.Cast(x, to=FLOAT)

    def _constant(self, kind: str, value: Any) -> ir.Value:
        if (kind, value) not in self._constants:
            attribute = {"value": ir.tensor(np.array([value]))} if kind == "double" else {kind: value}
            self._constants[kind, value] = self.Constant(**attribute)
        return self._constants[kind, value]


Kernel = Callable[..., Sequence[ir.Value]]
"""Builds the nodes that stand in an operator's place: from a builder and the operator's inputs, its outputs."""
