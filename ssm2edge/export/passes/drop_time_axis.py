"""Write graphs that take one sample at a time without the time axis.

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

import onnx_ir as ir

from ssm2edge.export.passes.sizes import constant_sizes, sizes_of
from ssm2edge.lowering.building import Builder

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


def write_single_samples_as_rows(graph: ir.Graph) -> None:
    """Rewrite a graph in place.

    Parameters
    ----------
    graph
        Exported with one sample as its time; any other graph comes out unchanged in value too, since only axes of size one go.
    """
    rows = _Rows(graph)
    for node in list(graph):
        rows.take(node)


class _Rows:
    """Values and their rows."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        sizes = sizes_of(graph.inputs[0]) if graph.inputs else None
        self._batch = sizes[0] if sizes else None
        self._rows: dict[ir.Value, ir.Value] = {}

    def take(self, node: ir.Node) -> None:
        """Write a node on rows if it has such a form; what reads its value in its own shape reads the rows, given that shape."""
        width = None if len(node.outputs) != 1 else self._width(node.outputs[0])
        if width is None or not node.inputs:
            return
        op, target = Builder(), node.outputs[0]
        rows = self._form(op, node, width)
        if rows is None:
            # Rows of its inputs may have been made: the next reader finds them.
            self._graph.insert_before(node, op.nodes)
            return
        sizes = sizes_of(target) or []
        rows.shape = ir.Shape([self._batch, width])
        value = rows
        if len(sizes) > 2:
            value = op.Reshape(rows, op.integers(-1, *map(int, sizes[1:])))
            self._rows[value] = rows
        elif target.is_graph_output() and rows.producer() not in op.nodes:
            value = op.Identity(rows)
        if value.producer() in op.nodes:
            ir.convenience.replace_nodes_and_values(self._graph, node, [node], op.nodes, [target], [value])
        else:
            target.replace_all_uses_with(value)

    def _form(self, op: Builder, node: ir.Node, width: int) -> ir.Value | None:
        """Build what a node computes, as rows; None if it has no such form."""
        if node.op_type in MOVES:
            return self._row(op, node.inputs[0], width)
        if node.op_type in UNARY or (node.op_type in BINARY and len(node.inputs) == 2):
            return self._elementwise(op, node, width)
        forms = {"LayerNormalization": self._norm, "MatMul": self._product, "Conv": self._convolution}
        return forms[node.op_type](op, node, width) if node.op_type in forms else None

    def _elementwise(self, op: Builder, node: ir.Node, width: int) -> ir.Value | None:
        sizes = sizes_of(node.outputs[0]) or []
        axes = [axis for axis, size in enumerate(sizes) if axis and size != 1]
        channel_from_end = len(sizes) - axes[0] if axes else None
        constants = [constant_sizes(value) for value in node.inputs]
        if all(constant is not None for constant in constants):
            return None
        arguments = []
        for value, constant in zip(node.inputs, constants, strict=True):
            if value is not None and constant is not None:
                arguments.append(_flat(op, value, constant, channel_from_end, width))
            else:
                alike = len(sizes_of(value) or ()) == len(sizes)
                arguments.append(self._row(op, value, 1, width) if alike else None)
        return None if None in arguments else op.alike(node, arguments)

    def _norm(self, op: Builder, node: ir.Node, width: int) -> ir.Value | None:
        sizes, source = sizes_of(node.outputs[0]) or [], node.inputs[0]
        if node.attributes.get_int("axis", -1) not in (-1, len(sizes) - 1) or sizes[-1] != width:
            return None
        rows = self._row(op, source, width)
        return None if rows is None else op.alike(node, [rows, *node.inputs[1:]], axis=-1)

    def _product(self, op: Builder, node: ir.Node, width: int) -> ir.Value | None:
        left, right = node.inputs
        sizes, read = constant_sizes(right), sizes_of(left)
        # (batch, 1, K) by (K, N): the axis of size one is a row, not what is summed over.
        if sizes is None or len(sizes) != 2 or not read or read[-1] != sizes[0]:
            return None
        rows = self._row(op, left, sizes[0])
        return None if rows is None else op.MatMul(rows, right)

    def _convolution(self, op: Builder, node: ir.Node, width: int) -> ir.Value | None:
        source, weight, *bias = node.inputs
        plain = node.attributes.get_int("group", 1) == 1 and not any(node.attributes.get_ints("pads", [0]))
        sizes = constant_sizes(weight) or []
        if not plain or not bias or len(sizes) != 3 or sizes[2] != 1:
            return None
        if any((sizes_of(value) or [0])[-1] != 1 for value in (source, node.outputs[0])):
            return None
        rows = self._row(op, source, sizes[1])
        return None if rows is None else op.Gemm(rows, op.Reshape(weight, op.integers(*sizes[:2])), bias[0], transB=1)

    def _row(self, op: Builder, value: ir.Value | None, *widths: int) -> ir.Value | None:
        """Return a value's rows, if it holds rows of one of these widths."""
        width = self._width(value)
        if value is None or width not in widths:
            return None
        if len(sizes_of(value) or ()) == 2:
            return value
        if value not in self._rows:
            self._rows[value] = op.Reshape(value, op.integers(-1, width))
        return self._rows[value]

    def _width(self, value: ir.Value | None) -> int | None:
        """Return C of a value that holds rows (batch, C), else None."""
        sizes = sizes_of(value)
        if sizes is None or not 2 <= len(sizes) <= 4 or sizes[0] != self._batch or sizes[0] == "" or isinstance(sizes[0], int):
            return None
        wide = [size for size in sizes[1:] if size != 1]
        if len(wide) > 1 or any(isinstance(size, str) or size < 1 for size in wide):
            return None
        return int(wide[0]) if wide else 1


def _flat(op: Builder, constant: ir.Value, sizes: list[int], channel_from_end: int | None, width: int) -> ir.Value | None:
    """Return a constant as it acts on rows; None if it does not act on channels."""
    if math.prod(sizes) == 1:
        return constant if len(sizes) < 2 else op.Reshape(constant, op.integers(1))
    if channel_from_end is None or len(sizes) < channel_from_end or sizes[-channel_from_end] != width:
        return None
    if math.prod(sizes) != width:
        return None
    return constant if len(sizes) == 1 else op.Reshape(constant, op.integers(width))
