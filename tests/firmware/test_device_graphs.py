"""The device graph gives the numbers of stream.onnx, with fixed sizes, plain names, ordered ports and no gathers of states."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from ssm2edge.firmware.device_graph import device_graph, ports
from ssm2edge.runtime import Stream
from tests.command_line import call
from tests.firmware.test_distributing import SIZES, joined_states
from tests.model_directories import Built


@pytest.fixture
def artifact(tiny_build: Built, tmp_path: Path) -> Path:
    shutil.copytree(tiny_build.place / "deep" / "out", tmp_path / "tiny")
    return tmp_path / "tiny"


def test_a_stream_by_its_ports_gives_the_numbers_of_the_stream(artifact: Path, tmp_path: Path) -> None:
    result = call("package", artifact, "--target", "onnx", "--out", tmp_path / "device")
    assert result.exit_code == 0, result.output
    assert {path.name for path in (tmp_path / "device").iterdir()} == {"stream.device.onnx", "ports.json", "README.md"}
    told = json.loads((tmp_path / "device" / "ports.json").read_text())
    session = onnxruntime.InferenceSession(str(tmp_path / "device" / "stream.device.onnx"))
    inputs = [port["name"] for port in told["inputs"]] + [state["input"] for state in told["states"]]
    outputs = [port["name"] for port in told["outputs"]] + [state["output"] for state in told["states"]]
    assert [value.name for value in session.get_inputs()] == inputs
    assert [value.name for value in session.get_outputs()] == outputs
    shapes = [port["shape"] for port in (*told["inputs"], *told["states"])]
    assert [value.shape for value in session.get_inputs()] == shapes
    assert all(name.isidentifier() for name in (*inputs, *outputs))
    states = {state["input"]: np.full(state["shape"], state["initial"], state["dtype"]) for state in told["states"]}
    generator = np.random.default_rng(0)
    with Stream(artifact) as stream:
        for _ in range(5):
            samples = generator.standard_normal(told["inputs"][0]["shape"]).astype(np.float32)
            found = dict(zip(outputs, session.run(outputs, {inputs[0]: samples, **states}), strict=True))
            states = {state["input"]: found[state["output"]] for state in told["states"]}
            (expected,) = stream.push(samples).values()
            np.testing.assert_allclose(found[outputs[0]], expected, rtol=1e-5, atol=1e-6)


def test_pairs_are_exchanged_without_their_places_and_the_metadata_are_whole(tmp_path: Path) -> None:
    model = device_graph(joined_states(tmp_path / "stream.onnx"), {"classes": ["a", "b"]})
    assert "Gather" not in {node.op_type for node in model.graph.node}
    assert {value.data_type for value in model.graph.initializer} <= {onnx.TensorProto.FLOAT, onnx.TensorProto.INT64}
    told = ports(model)
    assert told["classes"] == ["a", "b"]
    assert [state["input"] for state in told["states"]] == ["state_0", "state_1"]
    onnx.save(model, tmp_path / "device.onnx")
    samples = np.random.default_rng(1).standard_normal((1, 20, sum(SIZES))).astype(np.float32)
    with Stream(tmp_path / "stream.onnx") as one, Stream(tmp_path / "device.onnx") as other:
        for name, value in one.push(samples).items():
            np.testing.assert_allclose(other.push(samples)[name], value, rtol=1e-5, atol=1e-6)
            other.reset()


def test_what_has_no_device_graph_is_refused(artifact: Path, tmp_path: Path) -> None:
    result = call("package", artifact, "--target", "onnx", "--name", "mine", "--out", tmp_path / "device")
    assert result.exit_code == 2
    assert not (tmp_path / "device").exists()
