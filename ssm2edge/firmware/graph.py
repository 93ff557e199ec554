"""A streaming graph as plain values: one stream, every size known, everything that no input changes computed beforehand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from ssm2edge.firmware.errors import FirmwareError
from ssm2edge.firmware.folding import folded
from ssm2edge.runtime.ports import Signature, read_signature

Array = NDArray[Any]
Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Tensor:
    """A value of the graph.

    Attributes
    ----------
    name
        Name in the graph.
    shape
        Sizes of all axes.
    dtype
        Element type.
    constant
        Its numbers, where nothing changes them.
    """

    name: str
    shape: Shape
    dtype: np.dtype[Any]
    constant: Array | None = None


@dataclass(frozen=True, eq=False)
class Operation:
    """A node of the graph.

    Attributes
    ----------
    kind
        Operator, with its domain before a colon where it is not ONNX's own.
    name
        Name of the node, or of its first output.
    inputs
        Its inputs; None where an optional one is left out.
    outputs
        Its outputs.
    attributes
        Attributes by name.
    line
        File and line of the model's code; empty where the graph does not record it.
    """

    kind: str
    name: str
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    line: str = ""

    def integer(self, name: str, default: int) -> int:
        """Return an attribute that is a whole number."""
        return int(self.attributes.get(name, default))

    def number(self, name: str, default: float) -> float:
        """Return an attribute that is a number."""
        return float(self.attributes.get(name, default))

    def integers(self, name: str, default: Sequence[int]) -> list[int]:
        """Return an attribute that is a list of whole numbers."""
        return [int(value) for value in self.attributes.get(name, default)]

    def fixed(self, place: int) -> list[int] | None:
        """Return the whole numbers of a constant input; None where the input is left out."""
        given = self.inputs[place] if place < len(self.inputs) else None
        if given is None:
            return None
        if given.constant is None:
            raise FirmwareError(self.refusal(f"takes {given.name}, which changes while it runs, for a size or a place"))
        return [int(value) for value in given.constant.ravel()]

    def refusal(self, reason: str) -> str:
        """Return the sentence that refuses the node."""
        place = f" (made from {self.line})" if self.line else ""
        return (
            f"The node {self.name} of the operator {self.kind}{place} cannot be written as C: it {reason}; "
            "run stream.onnx with onnxruntime, or write that part of the model with other operations."
        )


@dataclass(frozen=True, eq=False)
class Graph:
    """A streaming graph for one stream.

    Attributes
    ----------
    signature
        Its ports and states, as the runtime reads them.
    tensors
        All values by name.
    operations
        In an order in which they can run.
    """

    signature: Signature
    tensors: Mapping[str, Tensor]
    operations: tuple[Operation, ...]


def read_graph(path: Path) -> Graph:
    """Read a streaming graph, for one stream.

    Raises
    ------
    FirmwareError
        If a size depends on the samples, or a part of the graph is a graph itself.
    """
    model = folded(path)
    graph = model.graph
    lines = {node.output[0]: node.doc_string for node in onnx.load(path).graph.node if node.output and node.doc_string}
    tensors = {"": None, **{value.name: _constant(value) for value in graph.initializer}}
    for value in (*graph.input, *graph.value_info, *graph.output):
        if value.name not in tensors:
            tensors[value.name] = _tensor(value)
    operations = []
    for node in graph.node:
        if node.op_type == "Constant":
            tensors[node.output[0]] = _constant(node.attribute[0].t, node.output[0])
            continue
        name = node.name or node.output[0]
        missing = [output for output in node.output if output and output not in tensors]
        kind = node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}:{node.op_type}"
        line = lines.get(node.output[0], "")
        if any(attribute.type == onnx.AttributeProto.GRAPH for attribute in node.attribute):
            raise FirmwareError(Operation(kind, name, (), (), {}, line).refusal("runs another graph"))
        if missing:
            raise FirmwareError(Operation(kind, name, (), (), {}, line).refusal("has an output whose size is not known"))
        attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
        inputs = tuple(tensors[value] for value in node.input)
        outputs = tuple(tensors[value] for value in node.output if value)
        operations.append(Operation(kind, name, inputs, outputs, attributes, line))  # type: ignore[arg-type]
    del tensors[""]
    return Graph(_signature(path, model), tensors, tuple(operations))  # type: ignore[arg-type]


def _constant(value: onnx.TensorProto, name: str = "") -> Tensor:
    array = numpy_helper.to_array(value)
    return Tensor(name or value.name, array.shape, array.dtype, array)


def _tensor(value: onnx.ValueInfoProto) -> Tensor:
    kind = value.type.tensor_type
    sizes = [size.dim_value if size.HasField("dim_value") else -1 for size in kind.shape.dim]
    if min(sizes, default=1) < 1:
        raise FirmwareError(
            f"The value {value.name} of the streaming graph has a size that is zero or changes from block to block: "
            "C needs fixed sizes; run stream.onnx with onnxruntime."
        )
    return Tensor(value.name, tuple(sizes), onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))


def _signature(path: Path, model: onnx.ModelProto) -> Signature:
    names = {1: "tensor(float)", 11: "tensor(double)", 7: "tensor(int64)", 6: "tensor(int32)", 9: "tensor(bool)"}

    def ports(values: Sequence[onnx.ValueInfoProto]) -> list[tuple[str, str, list[int]]]:
        kinds = ((value, value.type.tensor_type) for value in values)
        return [(v.name, names.get(k.elem_type, "?"), [size.dim_value for size in k.shape.dim]) for v, k in kinds]

    metadata = {entry.key: entry.value for entry in model.metadata_props}
    return read_signature(str(path), metadata, ports(model.graph.input), ports(model.graph.output))
