"""Sums and means over axes as products with a row of equal weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper


def as_product(
    node: onnx.NodeProto,
    constants: Mapping[str, np.ndarray[Any, Any]],
    shapes: Mapping[str, Sequence[int]],
    graph: onnx.GraphProto,
) -> list[onnx.NodeProto]:
    """Return a product for a sum or mean over neighbouring axes, which ncnn leaves out; other nodes as they are.

    Parameters
    ----------
    node
        Any node.
    constants
        Constants by name.
    shapes
        Shapes of float32 values by name, as far as they are known.
    graph
        Gets the sizes and the weights.
    """
    shape = shapes.get(node.input[0]) if node.op_type in ("ReduceSum", "ReduceMean") and len(node.input) == 2 else None
    axes = sorted(int(axis) % len(shape) for axis in constants.get(node.input[1], np.zeros(0)).ravel()) if shape else []
    if not shape or not axes or axes[0] == 0 or axes != list(range(axes[0], axes[-1] + 1)):
        return [node]
    name, kept = node.output[0], next((int(entry.i) for entry in node.attribute if entry.name == "keepdims"), 1)
    before, behind = shape[1 : axes[0]], shape[axes[-1] + 1 :]
    count = int(np.prod(shape[axes[0] : axes[-1] + 1]))
    weight = 1 / count if node.op_type == "ReduceMean" else 1
    flat = [shape[0], *([int(np.prod(before))] if before else []), count, int(np.prod(behind))]
    sizes = [shape[0], *before, *([1] * len(axes) if kept else []), *behind]
    values: dict[str, np.ndarray[Any, Any]] = {
        f"{name}.flat": np.array(flat, np.int64),
        f"{name}.weights": np.full((1, count), weight, np.float32),
        f"{name}.sizes": np.array(sizes, np.int64),
    }
    rows = node.input[0] if flat == list(shape) else f"{name}.rows"
    nodes = [
        helper.make_node("Reshape", [node.input[0], f"{name}.flat"], [f"{name}.rows"]),
        helper.make_node("MatMul", [f"{name}.weights", rows], [f"{name}.sum"]),
        helper.make_node("Reshape", [f"{name}.sum", f"{name}.sizes"], [name]),
    ]
    if count == 1:
        nodes = [helper.make_node("Reshape", [node.input[0], f"{name}.sizes"], [name])]
    elif rows == node.input[0]:
        nodes = nodes[1:]
    used = {given for one in nodes for given in one.input}
    graph.initializer.extend(numpy_helper.from_array(value, key) for key, value in values.items() if key in used)
    return nodes
