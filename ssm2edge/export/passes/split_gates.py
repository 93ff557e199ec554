"""Write gated pointwise convolutions as two matrix products.

``Conv (k = 1), Split, Sigmoid, Mul`` on (batch, channels, time), which is how a 1 x 1 ``Conv1d`` with a ``GLU`` behind it is
exported, becomes two ``Gemm`` over rows (batch time, channels), one for the values and one for the gates: no copy cuts a product
into halves, onnxruntime packs the weights once, and computes the sigmoid inside the second product.

Requires
    the shapes that the exporter noted.
Ensures
    the same values.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from ssm2edge.export.passes.sizes import constant_sizes, sizes_of
from ssm2edge.lowering.building import Builder

BACK_AND_FORTH = (0, 2, 1)


@dataclass(frozen=True, eq=False)
class _Gate:
    """One gated convolution: its nodes, from the last to the first, its weights (2 outputs, inputs, 1), and the channels."""

    nodes: tuple[ir.Node, ir.Node, ir.Node, ir.Node]
    weight: ir.Value
    inputs: int
    outputs: int


def write_gates_as_products(graph: ir.Graph) -> None:
    """Rewrite every gated pointwise convolution of a graph in place."""
    for node in list(graph):
        gate = _match(node)
        if gate is not None:
            op = Builder()
            target = _products(op, gate)
            ir.convenience.replace_nodes_and_values(graph, node, gate.nodes, op.nodes, node.outputs, [target])


def _match(product: ir.Node) -> _Gate | None:
    """Return the gated convolution that ends in ``product``, if it does."""
    if product.op_type != "Mul":
        return None
    for values, gates in (tuple(product.inputs), tuple(reversed(product.inputs))):
        sigmoid, split = _producer(gates, "Sigmoid"), _producer(values, "Split")
        conv = None if split is None else _producer(split.inputs[0], "Conv")
        if sigmoid is None or split is None or conv is None or split.attributes.get_int("axis", 0) not in (1, -2):
            continue
        inner = (*conv.outputs, *split.outputs, *sigmoid.outputs)
        if [values, sigmoid.inputs[0]] != list(split.outputs) or any(len(x.uses()) != 1 or x.is_graph_output() for x in inner):
            continue
        weight, sizes = conv.inputs[1], constant_sizes(conv.inputs[1]) or [0]
        if weight is None or not _is_pointwise(conv, weight) or not _halves(split, sizes[0]):
            continue
        return _Gate((product, sigmoid, split, conv), weight, sizes[1], sizes[0] // 2)
    return None


def _producer(value: ir.Value | None, operator: str) -> ir.Node | None:
    node = None if value is None else value.producer()
    return node if node is not None and node.op_type == operator else None


def _is_pointwise(conv: ir.Node, weight: ir.Value) -> bool:
    attributes = conv.attributes
    plain = attributes.get_int("group", 1) == 1 and set(attributes.get_ints("strides", [1])) == {1}
    unpadded = not any(attributes.get_ints("pads", [0])) and attributes.get_string("auto_pad", "NOTSET") in ("NOTSET", "VALID")
    sizes = constant_sizes(weight)
    return plain and unpadded and weight.dtype == ir.DataType.FLOAT and sizes is not None and sizes[2:] == [1]


def _halves(split: ir.Node, channels: int) -> bool:
    """Return whether a Split gives two equal parts, as far as it says sizes."""
    sizes = split.inputs[1] if len(split.inputs) > 1 else None
    known = None if sizes is None else ir.convenience.get_const_tensor(sizes)
    return sizes is None or (known is not None and known.numpy().tolist() == [channels // 2, channels // 2])


def _products(op: Builder, gate: _Gate) -> ir.Value:
    """Build the same values."""
    conv = gate.nodes[-1]
    source, sizes = conv.inputs[0], sizes_of(conv.outputs[0])
    batch, _, time = sizes if sizes is not None and len(sizes) == 3 else (None, None, None)
    # Of one sample, moving the time axis moves nothing; its rows have shapes, for the pass that takes the axis away.
    instant = time == 1

    def in_rows(value: ir.Value, width: int) -> ir.Value:
        value.shape = ir.Shape([batch, width]) if instant else None
        return value

    weights = op.several("Split", 2, op.Reshape(gate.weight, op.integers(2 * gate.outputs, gate.inputs)), axis=0, num_outputs=2)
    bias = conv.inputs[2] if len(conv.inputs) > 2 else None
    biases = op.several("Split", 2, bias, axis=0, num_outputs=2) if bias is not None else (None, None)
    by_time = source if instant else op.Transpose(source, perm=BACK_AND_FORTH)
    rows = in_rows(op.Reshape(by_time, op.integers(-1, gate.inputs)), gate.inputs)
    values, gates = (
        in_rows(op.Gemm(rows, weight, bias, transB=1), gate.outputs) for weight, bias in zip(weights, biases, strict=True)
    )
    gated = in_rows(op.Mul(values, in_rows(op.Sigmoid(gates), gate.outputs)), gate.outputs)
    if instant:
        return op.Reshape(gated, op.integers(-1, gate.outputs, 1))
    if isinstance(time, int):
        to_time = op.integers(-1, time, gate.outputs)
    else:
        to_time = op.Concat(op.Shape(by_time, start=0, end=2), op.integers(gate.outputs), axis=0)
    return op.Transpose(op.Reshape(gated, to_time), perm=BACK_AND_FORTH)
