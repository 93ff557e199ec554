"""What a graph costs to run: nodes and multiply-adds, the same figures on every machine.

Sizes inside a graph follow from its inputs through reshapes that no shape inference follows in full, so they are taken from one
run: onnxruntime's profile names every kernel that ran, once per step of a Scan, with the shapes it saw.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

Shape = tuple[int, ...]

_KERNEL = "_kernel_time"
"""How the profile's names of kernels that ran end."""


@dataclass(frozen=True)
class Cost:
    """What one call of a graph costs.

    Attributes
    ----------
    nodes
        Nodes that depend on the inputs, bodies of loops counted once; the others are folded when the graph is loaded.
    multiply_adds
        Of matrix products, convolutions, recurrences and elementwise products, in every step of every loop; other elementwise
        operations are not counted.
    """

    nodes: int
    multiply_adds: int


def graph_cost(model: onnx.ModelProto, sizes: Mapping[str, int]) -> Cost:
    """Count the cost of one call.

    Parameters
    ----------
    model
        A self-contained model of standard operators.
    sizes
        Value of every symbolic size of the inputs, such as ``{"batch": 1, "time": 784}``.
    """
    named = onnx.ModelProto()
    named.CopyFrom(model)
    running: dict[str, onnx.NodeProto] = {}
    known: dict[str, dict[str, Shape]] = {}
    for number, (node, constants) in enumerate(_running(named.graph, frozenset(), {})):
        node.name = f"cost.{number}"
        running[node.name], known[node.name] = node, constants
    total = 0
    for name, shapes, output in _profile(named, sizes):
        if name in running:
            node = running[name]
            total += _multiply_adds(node, _inputs(node, shapes, known[name]), output)
    return Cost(len(running), total)


def _running(
    graph: onnx.GraphProto, outer: frozenset[str], outer_constants: Mapping[str, Shape]
) -> Iterator[tuple[onnx.NodeProto, dict[str, Shape]]]:
    """Nodes that depend on inputs, with the shapes of the constants in their scope."""
    constants = {**outer_constants, **{tensor.name: tuple(tensor.dims) for tensor in graph.initializer}}
    moving = set(outer) | {value.name for value in graph.input if value.name not in constants}
    for node in graph.node:
        if node.op_type == "Constant":
            # Some attribute forms are scalars or lists; only tensors enter products.
            tensors = [attribute.t for attribute in node.attribute if attribute.name == "value"]
            constants |= {node.output[0]: tuple(tensors[0].dims) if tensors else ()}
            continue
        bodies = [attribute.g for attribute in node.attribute if attribute.type == onnx.AttributeProto.GRAPH]
        captured = {name for body in bodies for inner in body.node for name in inner.input}
        if moving.isdisjoint(node.input) and moving.isdisjoint(captured):
            continue
        moving |= set(node.output)
        yield node, dict(constants)
        for body in bodies:
            yield from _running(body, frozenset(moving), constants)


def _profile(model: onnx.ModelProto, sizes: Mapping[str, int]) -> Iterator[tuple[str, list[Shape], Shape]]:
    """Every kernel that ran: name of its node, shapes of the inputs that are no constants, shape of the first output."""
    feed = {}
    for value in model.graph.input:
        tensor = value.type.tensor_type
        shape = [size.dim_value or sizes[size.dim_param] for size in tensor.shape.dim]
        feed[value.name] = np.zeros(shape, onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 3
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        session.run(None, feed)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(_KERNEL):
            arguments = event["args"]
            outputs = _shapes(arguments.get("output_type_shape", []))
            inputs = _shapes(arguments.get("input_type_shape", []))
            yield event["name"].removesuffix(_KERNEL), inputs, outputs[0] if outputs else ()


def _shapes(entries: Sequence[Mapping[str, Sequence[int]]]) -> list[Shape]:
    return [tuple(next(iter(entry.values()))) for entry in entries]


def _inputs(node: onnx.NodeProto, profiled: Sequence[Shape], constants: Mapping[str, Shape]) -> list[Shape]:
    """Shapes of all inputs in order: the profile leaves out constants."""
    rest = iter(profiled)
    return [constants[name] if name in constants else next(rest, ()) for name in node.input if name]


def _multiply_adds(node: onnx.NodeProto, inputs: Sequence[Shape], output: Shape) -> int:
    size = math.prod(output)
    match node.op_type:
        case "Mul":
            return size
        case "MatMul":
            return size * inputs[0][-1]
        case "Gemm":
            return math.prod(inputs[0]) * output[-1]
        case "Conv":
            return size * math.prod(inputs[1][1:])
        case "ConvTranspose":
            return math.prod(inputs[0]) * math.prod(inputs[1][1:])
        case "RNN" | "GRU" | "LSTM":
            steps, batch, width = inputs[0]
            directions, rows, hidden = inputs[2]
            return steps * batch * directions * rows * (width + hidden)
        case "Einsum":
            return _einsum(node, inputs)
    return 0


def _einsum(node: onnx.NodeProto, inputs: Sequence[Shape]) -> int:
    """Sizes of all indices together; an ellipsis stands for the leading axes of the widest input."""
    equation = next(onnx.helper.get_attribute_value(a) for a in node.attribute if a.name == "equation").decode()
    sizes: dict[Any, int] = {}
    for term, shape in zip(equation.split("->")[0].split(","), inputs, strict=True):
        letters = term.replace(" ", "").replace("...", "")
        spread = len(shape) - len(letters)
        for axis, length in enumerate(shape[:spread]):
            sizes[axis - spread] = max(length, sizes.get(axis - spread, 1))
        sizes |= dict(zip(letters, shape[spread:], strict=True))
    return math.prod(sizes.values())
