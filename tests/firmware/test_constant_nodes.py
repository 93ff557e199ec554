"""Nodes that no input changes are computed when a device graph is made, without a word."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from ssm2edge.firmware.constant_nodes import compute_constants
from ssm2edge.firmware.unrolling import write_out_loops
from tests.firmware.test_device_graphs import scanning


def test_what_no_input_changes_is_computed() -> None:
    model = scanning(4)
    start = np.random.default_rng(7).standard_normal((1, 3)).astype(np.float32)
    del model.graph.input[0]
    model.graph.initializer.append(numpy_helper.from_array(start, "start"))
    feeds = {"u": np.random.default_rng(8).standard_normal((4, 1, 3)).astype(np.float32)}
    expected = onnxruntime.InferenceSession(model.SerializeToString()).run(None, feeds)
    write_out_loops(model)
    before = len(model.graph.node)
    compute_constants(model)
    # The first product is a constant, and so is the state before the first step.
    assert len(model.graph.node) <= before - 2
    constants = {value.name for value in model.graph.initializer}
    assert not [node for node in model.graph.node if set(node.input) <= constants]
    onnx.checker.check_model(model, full_check=True)
    for found, right in zip(onnxruntime.InferenceSession(model.SerializeToString()).run(None, feeds), expected, strict=True):
        np.testing.assert_allclose(found, right, rtol=1e-5, atol=1e-6)


def test_nothing_is_written_beside_the_answer(capfd: pytest.CaptureFixture[str]) -> None:
    # onnxruntime warns of this graph: it cannot remove an Unsqueeze whose axes another node computes.
    nodes = [
        helper.make_node("Neg", ["one"], ["axis"]),
        helper.make_node("Unsqueeze", ["row", "axis"], ["column"]),
        helper.make_node("Mul", ["x", "column"], ["y"]),
    ]
    stored = [numpy_helper.from_array(np.array([1], np.int64), "one"), numpy_helper.from_array(np.ones(3, np.float32), "row")]
    given, found = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [3, 1]) for name in "xy")
    graph = helper.make_graph(nodes, "constant", [given], [found], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    compute_constants(model)
    assert [node.op_type for node in model.graph.node] == ["Mul"]
    assert capfd.readouterr() == ("", "")
