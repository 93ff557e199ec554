"""A stream with several inputs and outputs: tokens, time on another axis, an input given once, an output at half the rate.

y[k] = gain u[k] + (sum of the two tokens at k)        pairs[j] = y[2j] + y[2j+1]        total = running sum of y
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Arrays = dict[str, NDArray[np.generic]]
BLOCK = 4
LENGTH = 14


def save(path: Path) -> Path:
    """Save the graph."""

    def tensor(name: str, kind: int, *shape: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, ["batch", *shape])

    nodes = [
        helper.make_node("Unsqueeze", ["gain", "axis"], ["gain_in_time"]),
        helper.make_node("Mul", ["u", "gain_in_time"], ["scaled"]),
        helper.make_node("ReduceSum", ["tokens", "axis"], ["counted"], keepdims=0),
        helper.make_node("Cast", ["counted"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["floats", "last"], ["sums"]),
        helper.make_node("Add", ["scaled", "sums"], ["y"]),
        helper.make_node("Reshape", ["y", "halves"], ["grouped"]),
        helper.make_node("ReduceSum", ["grouped", "last"], ["pairs"], keepdims=1),
        helper.make_node("ReduceSum", ["y", "axis"], ["block_sum"], keepdims=0),
        helper.make_node("Add", ["state.total", "block_sum"], ["next.total"]),
        helper.make_node("Identity", ["next.total"], ["total"]),
    ]
    constants = {"axis": np.array([1]), "last": np.array([2]), "halves": np.array([0, BLOCK // 2, 2])}
    graph = helper.make_graph(
        nodes,
        "several",
        [
            tensor("u", TensorProto.FLOAT, BLOCK, 1),
            tensor("tokens", TensorProto.INT64, 2, BLOCK),
            tensor("gain", TensorProto.FLOAT, 1),
            tensor("state.total", TensorProto.FLOAT, 1),
        ],
        [
            tensor("y", TensorProto.FLOAT, BLOCK, 1),
            tensor("pairs", TensorProto.FLOAT, BLOCK // 2, 1),
            tensor("total", TensorProto.FLOAT, 1),
            tensor("next.total", TensorProto.FLOAT, 1),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(
        model,
        {
            "ssm2edge.schema": "1",
            "ssm2edge.kind": "stream",
            "ssm2edge.block": str(BLOCK),
            "ssm2edge.inputs": json.dumps(
                [{"name": "u", "time_axis": 1}, {"name": "tokens", "time_axis": 2}, {"name": "gain", "time_axis": None}]
            ),
            "ssm2edge.outputs": json.dumps(
                [{"name": "y", "time_axis": 1}, {"name": "pairs", "time_axis": 1}, {"name": "total", "time_axis": None}]
            ),
            "ssm2edge.states": json.dumps([{"input": "state.total", "output": "next.total", "shape": [1], "initial": 0.0}]),
        },
    )
    onnx.save(model, path)
    return path


def inputs() -> Arrays:
    """Two sequences of fourteen samples."""
    generator = np.random.default_rng(8)
    return {
        "u": generator.standard_normal((2, LENGTH, 1)).astype(np.float32),
        "tokens": generator.integers(0, 9, (2, 2, LENGTH)),
        "gain": np.array([[2.0], [-1.0]], np.float32),
    }


def cut(inputs: Arrays, start: int, stop: int) -> Arrays:
    """Return the samples from one place to another."""
    return {"u": inputs["u"][:, start:stop], "tokens": inputs["tokens"][:, :, start:stop], "gain": inputs["gain"]}
