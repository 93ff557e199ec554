"""Graphs that take one sample at a time, written without the time axis.

A value ``(batch, 1, C)`` or ``(batch, C, 1)`` holds the rows ``(batch, C)``.  Layer by layer, a model moves the axis of size one
back and forth, for convolutions and norms, and every move is a node; at one sample a node costs as much as its arithmetic.  On
rows there is nothing to move, and a product with a bias behind it is one ``Gemm`` for onnxruntime.

Requires
    a graph whose values have the shapes that the exporter noted, with the batch as first axis.
Ensures
    the same inputs, outputs and values; operations that have no form on rows here stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import onnx
from onnx import NodeProto, helper

UNARY = frozenset(
    {
        "Abs", "Cos", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Log", "Mish", "Neg",
        "Reciprocal", "Relu", "Selu", "Sigmoid", "Sin", "Softplus", "Softsign", "Sqrt", "Tanh",
    }
)  # fmt: skip
"""Operators of one input, ours and ONNX's, that treat every element by itself."""

BINARY = frozenset({"Add", "Div", "Max", "Min", "Mul", "Pow", "Sub"})
MOVES = frozenset({"Flatten", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
"""Operators that, where only axes of size one change, leave the rows as they are."""

Shape = list[int | str]


def write_single_samples_as_rows(model: onnx.ModelProto) -> None:
    """Rewrite a graph in place.

    Parameters
    ----------
    model
        Exported with one sample as its time; any other graph comes out unchanged in value too, since only axes of size one go.
    """
    if any(attribute.type == onnx.AttributeProto.GRAPH for node in model.graph.node for attribute in node.attribute):
        return  # a body may read any value of this graph by its own name
    rows = _Rows(model.graph)
    for node in list(model.graph.node):
        rows.take(node)
    for output in model.graph.output:
        rows.restore(output.name)
    del model.graph.node[:]
    model.graph.node.extend(rows.nodes)


class _Rows:
    """The rewritten nodes, and which values there are in their own shape and as rows."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.nodes: list[NodeProto] = []
        ports = [*graph.input, *graph.output, *graph.value_info]
        self._shapes: dict[str, Shape] = {port.name: _dimensions(port) for port in ports}
        self._constants = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
        self._batch = self._shapes[graph.input[0].name][0] if graph.input else None
        self._whole = {port.name for port in graph.input} | set(self._constants)
        self._rows: dict[str, str] = {}
        self._used = {name for node in graph.node for name in (*node.input, *node.output)}

    def take(self, node: NodeProto) -> None:
        """Write a node, on rows if it has such a form."""
        if not self._on_rows(node):
            for name in node.input:
                self.restore(name)
            kept = NodeProto()
            kept.CopyFrom(node)
            self.nodes.append(kept)
            self._whole |= set(node.output)

    def restore(self, name: str) -> None:
        """Make sure that a value exists in its own shape."""
        if name in self._whole or name not in self._rows:
            return
        shape = [-1, *(int(size) for size in self._shapes[name][1:])]
        self._reshape(self._rows[name], shape, name)
        self._whole.add(name)

    def _on_rows(self, node: NodeProto) -> bool:
        width = None if len(node.output) != 1 else self._width(node.output[0])
        if width is None or not node.input:
            return False
        if node.op_type in MOVES:
            return self._move(node, width)
        if node.op_type in UNARY:
            return self._elementwise(node, node.input, width)
        if node.op_type in BINARY and len(node.input) == 2:
            return self._elementwise(node, node.input, width)
        if node.op_type == "LayerNormalization":
            return self._norm(node, width)
        if node.op_type == "MatMul":
            return self._product(node)
        return node.op_type == "Conv" and self._convolution(node, width)

    def _move(self, node: NodeProto, width: int) -> bool:
        if self._width(node.input[0]) != width:
            return False
        self._rows[node.output[0]] = self._row(node.input[0])
        if len(self._shapes[node.output[0]]) == 2:
            self._rename(node.output[0])
        return True

    def _elementwise(self, node: NodeProto, inputs: Sequence[str], width: int) -> bool:
        shape = self._shapes[node.output[0]]
        axes = [axis for axis, size in enumerate(shape) if axis and size != 1]
        channel_from_end = len(shape) - axes[0] if axes else None
        arguments = []
        for name in inputs:
            if name in self._constants:
                flat = self._flat_constant(name, channel_from_end, width)
                if flat is None:
                    return False
                arguments.append(flat)
                continue
            own = self._width(name)
            if own is None or len(self._shapes[name]) != len(shape) or own not in (1, width):
                return False
            arguments.append(name)
        if not any(name in self._shapes and name not in self._constants for name in arguments):
            return False
        self._write(node, [self._row(name) if self._width(name) else name for name in arguments])
        return True

    def _flat_constant(self, name: str, channel_from_end: int | None, width: int) -> str | None:
        dimensions = self._constants[name]
        if math.prod(dimensions) == 1:
            return name if len(dimensions) < 2 else self._reshape(name, [1], self._fresh(name))
        if channel_from_end is None or len(dimensions) < channel_from_end or dimensions[-channel_from_end] != width:
            return None
        if math.prod(dimensions) != width:
            return None
        return name if len(dimensions) == 1 else self._reshape(name, [width], self._fresh(name))

    def _norm(self, node: NodeProto, width: int) -> bool:
        attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        shape = self._shapes[node.output[0]]
        if attributes.get("axis", -1) not in (-1, len(shape) - 1) or shape[-1] != width or self._width(node.input[0]) != width:
            return False
        self._write(node, [self._row(node.input[0]), *node.input[1:]], axis=-1)
        return True

    def _product(self, node: NodeProto) -> bool:
        left, right = node.input
        if self._width(left) is None or len(self._constants.get(right, [])) != 2:
            return False
        # (batch, 1, K) by (K, N): the axis of size one is a row, not what is summed over.
        if self._shapes[left][-1] != self._constants[right][0] or self._width(left) != self._constants[right][0]:
            return False
        self._write(node, [self._row(left), right])
        return True

    def _convolution(self, node: NodeProto, width: int) -> bool:
        attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        weight = self._constants.get(node.input[1], [])
        plain = attributes.get("group", 1) == 1 and not any(attributes.get("pads", [0]))
        if not plain or len(weight) != 3 or weight[2] != 1 or len(node.input) < 3 or self._width(node.input[0]) != weight[1]:
            return False
        if self._shapes[node.input[0]][-1] != 1 or self._shapes[node.output[0]][-1] != 1:
            return False
        matrix = self._reshape(node.input[1], weight[:2], self._fresh(node.input[1]))
        product = helper.make_node("Gemm", [self._row(node.input[0]), matrix, node.input[2]], list(node.output), transB=1)
        self._write(product, list(product.input))
        return True

    def _write(self, node: NodeProto, inputs: Sequence[str], **changed: Any) -> None:
        """Append the node on other inputs; what it writes are the rows of its value."""
        written = NodeProto()
        written.CopyFrom(node)
        written.input[:] = inputs
        for name, value in changed.items():
            kept = [attribute for attribute in written.attribute if attribute.name != name]
            del written.attribute[:]
            written.attribute.extend([*kept, helper.make_attribute(name, value)])
        own = node.output[0]
        if len(self._shapes[own]) == 2:
            self._whole.add(own)
            self._rows[own] = own
        else:
            self._rows[own] = written.output[0] = self._fresh(own)
        self.nodes.append(written)

    def _rename(self, name: str) -> None:
        """Give rows the name of the two-dimensional value that they are."""
        self.nodes.append(helper.make_node("Identity", [self._rows[name]], [name]))
        self._whole.add(name)

    def _row(self, name: str) -> str:
        """Name of a value's rows."""
        if name not in self._rows:
            width = self._width(name)
            assert width is not None
            two = len(self._shapes[name]) == 2
            self._rows[name] = name if two else self._reshape(name, [-1, width], self._fresh(name))
        return self._rows[name]

    def _width(self, name: str) -> int | None:
        """C of a value that holds rows (batch, C), else None."""
        shape = self._shapes.get(name)
        if shape is None or not 2 <= len(shape) <= 4 or shape[0] != self._batch or isinstance(shape[0], int):
            return None
        sizes = [size for size in shape[1:] if size != 1]
        if any(not isinstance(size, int) or size < 1 for size in sizes) or len(sizes) > 1:
            return None
        return int(sizes[0]) if sizes else 1

    def _reshape(self, source: str, shape: Sequence[int], target: str) -> str:
        constant = self._fresh(f"{target}.shape")
        self.nodes.append(helper.make_node("Constant", [], [constant], value_ints=list(shape)))
        self.nodes.append(helper.make_node("Reshape", [source, constant], [target]))
        return target

    def _fresh(self, name: str) -> str:
        number, candidate = 0, f"{name}.rows"
        while candidate in self._used:
            number += 1
            candidate = f"{name}.rows{number}"
        self._used.add(candidate)
        return candidate


def _dimensions(port: onnx.ValueInfoProto) -> Shape:
    return [size.dim_param or size.dim_value for size in port.type.tensor_type.shape.dim]
