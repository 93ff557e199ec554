"""Gated pointwise convolutions as two matrix products.

``Conv (k = 1), Split, Sigmoid, Mul`` on (batch, channels, time), which is how a 1 x 1 ``Conv1d`` with a ``GLU`` behind it is
exported, becomes two ``Gemm`` over rows (batch time, channels), one for the values and one for the gates: no copy cuts a product
into halves, onnxruntime packs the weights once, and computes the sigmoid inside the second product.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import onnx
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

BACK_AND_FORTH = (0, 2, 1)


@dataclass(frozen=True)
class _Gate:
    """One gated convolution: the values it reads and writes, what it replaces, its sizes."""

    source: str
    weight: str
    bias: str | None
    target: str
    replaced: frozenset[str]
    inputs: int
    outputs: int
    batch: str
    """The batch's symbol, as far as it is known."""
    time: int | None
    """Samples where their number is fixed; of one sample, moving the time axis moves nothing."""

    @property
    def instant(self) -> bool:
        """Whether there is one sample."""
        return self.time == 1


def write_gates_as_products(model: onnx.ModelProto) -> None:
    """Rewrite every gated pointwise convolution of a graph in place.

    Parameters
    ----------
    model
        A graph whose values still have the shapes that the exporter noted.
    """
    graph = model.graph
    gates = {gate.target: gate for node in graph.node if (gate := _match(node, graph)) is not None}
    replaced = {name for gate in gates.values() for name in gate.replaced}
    nodes: list[NodeProto] = []
    for node in graph.node:
        name = node.output[0]
        if name in gates:
            nodes += _products(gates[name])
            graph.value_info.extend(_shapes(gates[name]))
        elif name not in replaced:
            kept = NodeProto()
            kept.CopyFrom(node)
            nodes.append(kept)
    del graph.node[:]
    graph.node.extend(nodes)


def _match(product: NodeProto, graph: GraphProto) -> _Gate | None:
    """The gated convolution that ends in ``product``, if it does."""
    if product.op_type != "Mul":
        return None
    producers = {name: node for node in graph.node for name in node.output}
    uses = Counter(name for node in graph.node for name in node.input) + Counter(value.name for value in graph.output)
    for values, gates in (tuple(product.input), tuple(reversed(product.input))):
        sigmoid, split = producers.get(gates), producers.get(values)
        if sigmoid is None or split is None or (sigmoid.op_type, split.op_type) != ("Sigmoid", "Split"):
            continue
        conv = producers.get(split.input[0])
        if conv is None or [values, sigmoid.input[0]] != list(split.output) or _attribute(split, "axis", 0) not in (1, -2):
            continue
        inner = (values, gates, sigmoid.input[0], conv.output[0])
        weight = next((tensor for tensor in graph.initializer if conv.op_type == "Conv" and tensor.name == conv.input[1]), None)
        if weight is None or any(uses[name] != 1 for name in inner) or not _is_pointwise(conv, weight):
            continue
        if len(split.input) > 1 and split.input[1] and not _halves(split.input[1], weight.dims[0], graph):
            continue
        return _Gate(
            source=conv.input[0],
            weight=weight.name,
            bias=conv.input[2] if len(conv.input) > 2 else None,
            target=product.output[0],
            replaced=frozenset({conv.output[0], split.output[0], sigmoid.output[0]}),
            inputs=weight.dims[1],
            outputs=weight.dims[0] // 2,
            **_known_sizes(conv.output[0], graph),
        )
    return None


def _is_pointwise(conv: NodeProto, weight: TensorProto) -> bool:
    plain = _attribute(conv, "group", 1) == 1 and set(_attribute(conv, "strides", [1])) == {1}
    unpadded = not any(_attribute(conv, "pads", [0])) and _attribute(conv, "auto_pad", b"NOTSET") in (b"NOTSET", b"VALID")
    return plain and unpadded and weight.data_type == TensorProto.FLOAT and len(weight.dims) == 3 and weight.dims[2] == 1


def _halves(sizes: str, channels: int, graph: GraphProto) -> bool:
    """Whether the sizes of a Split are known to be two equal ones."""
    known = [tensor for tensor in graph.initializer if tensor.name == sizes]
    return bool(known) and numpy_helper.to_array(known[0]).tolist() == [channels // 2, channels // 2]


def _known_sizes(name: str, graph: GraphProto) -> dict[str, Any]:
    shapes = [value.type.tensor_type.shape.dim for value in graph.value_info if value.name == name]
    if not shapes or len(shapes[0]) != 3:
        return {"batch": "", "time": None}
    return {"batch": shapes[0][0].dim_param, "time": shapes[0][2].dim_value or None}


def _shapes(gate: _Gate) -> list[ValueInfoProto]:
    """Shapes of the rows of single samples, for the pass that takes their time axis away."""
    if not gate.instant or not gate.batch:
        return []
    widths = {"rows": gate.inputs} | dict.fromkeys(("values", "gates", "opening", "gated"), gate.outputs)
    return [
        helper.make_tensor_value_info(f"{gate.target}.{suffix}", TensorProto.FLOAT, [gate.batch, width])
        for suffix, width in widths.items()
    ]


def _attribute(node: NodeProto, name: str, default: Any) -> Any:
    found = [attribute for attribute in node.attribute if attribute.name == name]
    return helper.get_attribute_value(found[0]) if found else default


def _products(gate: _Gate) -> list[NodeProto]:
    """The nodes that compute the same values."""
    constants: Mapping[str, list[int]] = {"rows": [-1, gate.inputs], "flat": [2 * gate.outputs, gate.inputs]}
    nodes: list[NodeProto] = []

    def name(suffix: str) -> str:
        return f"{gate.target}.{suffix}"

    def add(operator: str, inputs: list[str], outputs: list[str], **attributes: Any) -> None:
        nodes.append(helper.make_node(operator, inputs, outputs, **attributes))

    for suffix, value in constants.items():
        add("Constant", [], [name(f"to_{suffix}")], value_ints=value)
    add("Reshape", [gate.weight, name("to_flat")], [name("flat")])
    add("Split", [name("flat")], [name("weight_values"), name("weight_gates")], axis=0, num_outputs=2)
    biases: dict[str, list[str]] = {"values": [], "gates": []}
    if gate.bias is not None:
        biases = {part: [name(f"bias_{part}")] for part in biases}
        add("Split", [gate.bias], [*biases["values"], *biases["gates"]], axis=0, num_outputs=2)
    by_time = gate.source if gate.instant else name("by_time")
    if not gate.instant:
        add("Transpose", [gate.source], [by_time], perm=BACK_AND_FORTH)
    add("Reshape", [by_time, name("to_rows")], [name("rows")])
    for part, bias in biases.items():
        add("Gemm", [name("rows"), name(f"weight_{part}"), *bias], [name(part)], transB=1)
    add("Sigmoid", [name("gates")], [name("opening")])
    add("Mul", [name("values"), name("opening")], [name("gated")])
    if gate.instant:
        add("Constant", [], [name("to_instant")], value_ints=[-1, gate.outputs, 1])
        add("Reshape", [name("gated"), name("to_instant")], [gate.target])
        return nodes
    if gate.time is None:
        add("Constant", [], [name("width")], value_ints=[gate.outputs])
        add("Shape", [by_time], [name("sizes")], start=0, end=2)
        add("Concat", [name("sizes"), name("width")], [name("to_time")], axis=0)
    else:
        add("Constant", [], [name("to_time")], value_ints=[-1, gate.time, gate.outputs])
    add("Reshape", [name("gated"), name("to_time")], [name("mixed")])
    add("Transpose", [name("mixed")], [gate.target], perm=BACK_AND_FORTH)
    return nodes
