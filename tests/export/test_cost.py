"""Costs are the ones counted by hand, whatever the graph computes its sizes from."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ssm2edge.export.cost import Cost, graph_cost
from tests.first_order import offline_graph, stream_graph


def model(nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray], shape: list[str | int | None]) -> onnx.ModelProto:
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("u", TensorProto.FLOAT, shape)], [result], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


@pytest.mark.parametrize(
    ("node", "constants", "shape", "expected"),
    [
        (helper.make_node("MatMul", ["u", "w"], ["y"]), {"w": ones(3, 5)}, ["batch", "time", 3], 2 * 7 * 3 * 5),
        (helper.make_node("MatMul", ["w", "u"], ["y"]), {"w": ones(4, 4)}, ["batch", 4, "time"], 2 * 4 * 4 * 7),
        (helper.make_node("Gemm", ["u", "w", "c"], ["y"], transB=1), {"w": ones(5, 3), "c": ones(5)}, ["batch", 3], 2 * 3 * 5),
        (helper.make_node("Conv", ["u", "w"], ["y"], group=2), {"w": ones(4, 2, 3)}, ["batch", 4, "time"], 2 * 4 * 5 * 2 * 3),
        (helper.make_node("Mul", ["u", "w"], ["y"]), {"w": ones(6, 1, 1)}, ["batch", "time"], 6 * 2 * 7),
        (helper.make_node("Einsum", ["u", "w"], ["y"], equation="...i,ij->...j"), {"w": ones(3, 5)}, ["batch", 3], 2 * 3 * 5),
        (helper.make_node("Add", ["u", "w"], ["y"]), {"w": ones(1)}, ["batch", "time"], 0),
    ],
)
def test_products_are_counted(
    node: onnx.NodeProto, constants: dict[str, np.ndarray], shape: list[str | int | None], expected: int
) -> None:
    assert graph_cost(model([node], constants, shape), {"batch": 2, "time": 7}) == Cost(1, expected)


def test_steps_of_a_scan_count_each_time_and_constants_never() -> None:
    body = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["next"]), helper.make_node("Identity", ["next"], ["out"])],
        "body",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3]) for name in ("x", "step")],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3]) for name in ("next", "out")],
    )
    nodes = [
        helper.make_node("MatMul", ["a", "a"], ["w"]),
        helper.make_node("Scan", ["start", "u"], ["last", "y"], num_scan_inputs=1, body=body),
    ]
    graph = model(nodes, {"a": ones(3, 3), "start": ones(1, 3)}, ["time", 1, 3])
    # The product of two constants is folded when the graph is loaded: the Scan and the two nodes of its body remain.
    assert graph_cost(graph, {"time": 7}) == Cost(3, 7 * 3 * 3)


def test_recurrences_and_streams_are_counted() -> None:
    recurrent = 40 * (1 + 3) * 3
    assert graph_cost(offline_graph(True), {"batch": 1, "time": 40}).multiply_adds == recurrent
    assert graph_cost(stream_graph(True, 4), {"batch": 1, "time": 40}).multiply_adds == recurrent // 10
