"""Streams with several inputs and outputs: tokens, time on another axis, an input given once, an output at half the rate.

y[k] = gain u[k] + (sum of the two tokens at k)        pairs[j] = y[2j] + y[2j+1]        total = running sum of y
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ssm2edge.runtime import InputError, Stream

BLOCK = 4
LENGTH = 14


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
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
    file: Path = tmp_path_factory.mktemp("several") / "stream.onnx"
    onnx.save(model, file)
    return file


@pytest.fixture
def inputs() -> dict[str, NDArray[np.generic]]:
    generator = np.random.default_rng(8)
    return {
        "u": generator.standard_normal((2, LENGTH, 1)).astype(np.float32),
        "tokens": generator.integers(0, 9, (2, 2, LENGTH)),
        "gain": np.array([[2.0], [-1.0]], np.float32),
    }


def cut(inputs: dict[str, NDArray[np.generic]], start: int, stop: int) -> dict[str, NDArray[np.generic]]:
    return {"u": inputs["u"][:, start:stop], "tokens": inputs["tokens"][:, :, start:stop], "gain": inputs["gain"]}


@pytest.mark.parametrize("edges", [[0, 14], [0, 3, 14], [0, 1, 2, 3, 4, 5, 6, 7, 14], [0, 9, 9, 10, 14]])
def test_every_output_is_the_formulas(path: Path, inputs: dict[str, NDArray[np.generic]], edges: list[int]) -> None:
    with Stream(path, batch=2) as stream:
        parts = [stream.push(cut(inputs, a, b)) for a, b in itertools.pairwise(edges)]
        assert stream.pending == 2
        parts.append(stream.flush())
    y = inputs["gain"][:, :, None] * inputs["u"] + inputs["tokens"].sum(axis=1)[:, :, None]  # type: ignore[operator]
    np.testing.assert_allclose(np.concatenate([part["y"] for part in parts], axis=1), y, rtol=1e-6)
    pairs = np.concatenate([part["pairs"] for part in parts], axis=1)
    np.testing.assert_allclose(pairs, y[:, 0::2] + y[:, 1::2], rtol=1e-5, atol=1e-5)
    # The running sum is over the three whole blocks.
    np.testing.assert_allclose(parts[-1]["total"], y[:, :12].sum(axis=1), rtol=1e-5)


def test_snapshot_within_a_block_holds_every_input(path: Path, inputs: dict[str, NDArray[np.generic]]) -> None:
    with Stream(path, batch=2) as stream, Stream(path, batch=2) as other:
        stream.push(cut(inputs, 0, 7))
        other.restore(stream.snapshot())
        expected, actual = stream.push(cut(inputs, 7, 14)), other.push(cut(inputs, 7, 14))
    for name, value in expected.items():
        np.testing.assert_array_equal(actual[name], value)


def test_inputs_must_fit_each_other(path: Path, inputs: dict[str, NDArray[np.generic]]) -> None:
    with Stream(path, batch=2) as stream:
        with pytest.raises(InputError, match="different lengths"):
            stream.push(inputs | {"u": inputs["u"][:, :5]})
        with pytest.raises(InputError, match="batch sizes"):
            stream.push(inputs | {"gain": inputs["gain"][:1]})
        with pytest.raises(InputError, match="3 inputs"):
            stream.push(inputs["u"])
        with pytest.raises(InputError, match="tokens is int32"):
            stream.push(inputs | {"tokens": inputs["tokens"].astype(np.int32)})
        assert stream.pending == 0
