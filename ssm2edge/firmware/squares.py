"""Groups of rows put together into a square, of which onnx2tf takes one axis for the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper


def without_squares(
    graph: onnx.GraphProto, constants: Mapping[str, np.ndarray[Any, Any]], shapes: Mapping[str, Sequence[int]]
) -> None:
    """Put one more group of zeros behind groups that become a square and are then cut.

    Parameters
    ----------
    graph
        Changed in place.
    constants
        Constants by name.
    shapes
        Shapes by name, as far as they are known.
    """
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    nodes = []
    for node in graph.node:
        nodes.append(node)
        groups, rows = (list(shapes.get(name, ())) for name in (node.input[0] if node.input else "", node.output[0]))
        if node.op_type != "Reshape" or len(groups) != 4 or len(rows) != 3 or rows[1] != rows[2] or rows[2] != groups[3]:
            continue
        if [one.op_type for one in users.get(node.output[0], ())] != ["Slice"]:
            continue
        cut = [constants.get(name) for name in users[node.output[0]][0].input[1:]]
        if len(cut) not in (3, 4) or any(value is None or value.size != 1 for value in cut):
            continue
        start, stop, axis, *step = (int(value.item()) for value in cut if value is not None)
        if (start, axis, *(step or [1])) != (0, 1, 1) or not 0 < stop <= rows[1]:
            continue
        name = node.output[0]
        values: dict[str, np.ndarray[Any, Any]] = {
            f"{name}.zeros": np.zeros((groups[0], 1, *groups[2:]), np.float32),
            f"{name}.longer": np.array([rows[0], rows[1] + groups[2], rows[2]], np.int64),
        }
        graph.initializer.extend(numpy_helper.from_array(value, key) for key, value in values.items())
        nodes[-1:] = [
            helper.make_node("Concat", [node.input[0], f"{name}.zeros"], [f"{name}.groups"], axis=1),
            helper.make_node("Reshape", [f"{name}.groups", f"{name}.longer"], [name]),
        ]
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)
