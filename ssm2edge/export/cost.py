"""The cost of running a graph: nodes and multiply-adds, the same figures on every machine.

Sizes inside a graph follow from its inputs through reshapes that no shape inference follows in full, so they are taken from one
run: onnxruntime's profile names every kernel that ran, once per step of a Scan, with the shapes it saw.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime

Shape = tuple[int, ...]

_KERNEL = "_kernel_time"
"""Endings of the profile's names of kernels that ran."""


@dataclass(frozen=True)
class Cost:
    """The cost of one call of a graph.

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
    named = ir.from_proto(model)
    running = {f"cost.{number}": node for number, node in enumerate(_running(named.graph, set()))}
    for name, node in running.items():
        node.name = name
    total = sum(
        _multiply_adds(running[name], _inputs(running[name], shapes), output)
        for name, shapes, output in _profile(ir.to_proto(named), sizes)
        if name in running
    )
    return Cost(len(running), total)


def _running(graph: ir.Graph, outer: Set[ir.Value]) -> Iterator[ir.Node]:
    """Yield the nodes that depend on inputs."""
    moving = outer | set(graph.inputs)
    for node in graph:
        bodies = [attribute.as_graph() for attribute in node.attributes.values() if attribute.type == ir.AttributeType.GRAPH]
        captured = {value for body in bodies for inner in body for value in inner.inputs}
        if not moving.isdisjoint({*node.inputs, *captured}):
            moving |= set(node.outputs)
            yield node
            for body in bodies:
                yield from _running(body, moving)


def _profile(model: onnx.ModelProto, sizes: Mapping[str, int]) -> Iterator[tuple[str, list[Shape], Shape]]:
    """Yield every kernel that ran: name of its node, shapes of the inputs that are no constants, shape of the first output."""
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


def _inputs(node: ir.Node, profiled: Sequence[Shape]) -> list[Shape]:
    """Return the shapes of all inputs in order: the profile leaves out constants."""
    rest, shapes = iter(profiled), []
    for value in filter(None, node.inputs):
        constant = ir.convenience.get_const_tensor(value)
        shapes.append(next(rest, ()) if constant is None else tuple(constant.shape.numpy()))
    return shapes


def _multiply_adds(node: ir.Node, inputs: Sequence[Shape], output: Shape) -> int:
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


def _einsum(node: ir.Node, inputs: Sequence[Shape]) -> int:
    """Multiply the sizes of all indices; an ellipsis stands for the leading axes of the widest input."""
    equation = node.attributes["equation"].as_string()
    sizes: dict[Any, int] = {}
    for term, shape in zip(equation.split("->")[0].split(","), inputs, strict=True):
        letters = term.replace(" ", "").replace("...", "")
        spread = len(shape) - len(letters)
        for axis, length in enumerate(shape[:spread]):
            sizes[axis - spread] = max(length, sizes.get(axis - spread, 1))
        sizes |= dict(zip(letters, shape[spread:], strict=True))
    return math.prod(sizes.values())
