"""Zeros around samples as zeros that are joined to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper


def as_joined(
    node: onnx.NodeProto,
    constants: Mapping[str, np.ndarray[Any, Any]],
    shapes: Mapping[str, Sequence[int]],
    graph: onnx.GraphProto,
) -> list[onnx.NodeProto]:
    """Return a `Concat` for a `Pad` of one axis by zeros, which MNN gets wrong between products; other nodes as they are.

    Parameters
    ----------
    node
        Any node.
    constants
        Constants by name.
    shapes
        Shapes of float32 values by name, as far as they are known.
    graph
        Gets the zeros.
    """
    shape = shapes.get(node.input[0]) if node.op_type == "Pad" else None
    counts = constants.get(node.input[1]) if shape else None
    mode = next((entry.s for entry in node.attribute if entry.name == "mode"), b"constant")
    value = constants.get(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(1)
    if not shape or counts is None or counts.size != 2 * len(shape) or counts.min() < 0 or mode != b"constant":
        return [node]
    if value is None or value.any() or (value.dtype.kind != "f"):
        return [node]
    around = counts.reshape(2, -1)
    axes = np.flatnonzero(around.any(0)).tolist()
    if not axes:
        return [helper.make_node("Identity", node.input[:1], node.output)]
    if len(axes) > 1 or axes[0] == 0:
        return [node]
    parts = [node.input[0]]
    for side, count in enumerate(around[:, axes[0]].tolist()):
        if count:
            name = f"{node.output[0]}.zeros{side}"
            sizes = [count if axis == axes[0] else size for axis, size in enumerate(shape)]
            graph.initializer.append(numpy_helper.from_array(np.zeros(sizes, np.float32), name))
            parts.insert(side * len(parts), name)
    return [helper.make_node("Concat", parts, node.output, axis=axes[0])]
