"""The device graph gives the numbers of stream.onnx, with fixed sizes, plain names, ordered ports and no gathers of states."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from ssm2edge.artifact import open_artifact
from ssm2edge.firmware.device_graph import device_graph, ports
from ssm2edge.firmware.folding import folded
from ssm2edge.firmware.gelu_order import half_first
from ssm2edge.firmware.padding import as_joined
from ssm2edge.firmware.squares import without_squares
from ssm2edge.firmware.sums import as_product
from ssm2edge.firmware.unrolling import LONGEST, write_out_loops
from ssm2edge.runtime import Model, Stream
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
    assert {path.name for path in (tmp_path / "device").iterdir()} == {
        "stream.device.onnx",
        "offline.device.onnx",
        "ports.json",
        "README.md",
    }
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
    assert [entry.domain for entry in model.opset_import] == [""]
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


@pytest.mark.parametrize("length", [None, 7, 40])
def test_a_whole_sequence_without_loops_has_the_numbers_of_the_offline_graph(
    artifact: Path, tmp_path: Path, length: int | None
) -> None:
    chosen = [] if length is None else ["--length", length]
    result = call("package", artifact, "--target", "onnx", "--out", tmp_path / "device", *chosen)
    assert result.exit_code == 0, result.output
    told = json.loads((tmp_path / "device" / "ports.json").read_text())["offline"]
    path = tmp_path / "device" / told["graph"]
    model = onnx.load(path)
    assert {node.domain for node in model.graph.node} == {""}
    assert not {node.op_type for node in model.graph.node} & {"Scan", "Loop", "RNN", "ReduceSum", "Pad"}
    # One place of an axis is fine; several, as an exchange of pairs has them, are not.
    constants = {value.name: numpy_helper.to_array(value) for value in model.graph.initializer}
    assert all(constants[node.input[1]].ndim == 0 for node in model.graph.node if node.op_type == "Gather")
    assert [value.name for value in model.graph.input] == [port["name"] for port in told["inputs"]]
    shapes = [[size.dim_value for size in value.type.tensor_type.shape.dim] for value in model.graph.input]
    assert shapes == [port["shape"] for port in told["inputs"]]
    samples = np.random.default_rng(0).standard_normal(shapes[0]).astype(np.float32)
    (found, *_) = onnxruntime.InferenceSession(str(path)).run(None, {told["inputs"][0]["name"]: samples})
    with Model(artifact) as original:
        (expected, *_) = original.run(samples).values()
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_device_graphs_are_a_target_of_verify(artifact: Path, tmp_path: Path) -> None:
    folder = tmp_path / "device"
    assert call("package", artifact, "--target", "onnx", "--out", folder).exit_code == 0
    for chosen in ((), ("--package", folder)):
        result = call("verify", artifact, "--target", "onnx", *chosen, "--json")
        assert result.exit_code == 0, result.output
        names = [f"{graph}.device.{group}" for graph in ("stream", "offline") for group in ("references", "probes")]
        assert [check["name"] for check in json.loads(result.stdout)["checks"]] == names
        records = open_artifact(artifact).manifest.device_graphs
        assert {name: record.sha256 for name, record in records.items()} == {
            name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
            for name in ("stream.device.onnx", "offline.device.onnx")
        }
        # Graphs made anew go with the ports that a folder has.
        digest = hashlib.sha256((folder / "ports.json").read_bytes()).hexdigest()
        assert {record.ports for record in records.values()} == {digest}
    assert call("verify", artifact).exit_code == 0
    # A changed weight is a failure, and leaves the manifest as it is.
    model = onnx.load(folder / "offline.device.onnx")
    weights = max(model.graph.initializer, key=lambda value: len(value.raw_data))
    weights.CopyFrom(numpy_helper.from_array(1.5 * numpy_helper.to_array(weights), weights.name))
    onnx.save(model, folder / "offline.device.onnx")
    assert call("verify", artifact, "--target", "onnx", "--package", folder).exit_code == 1
    assert open_artifact(artifact).manifest.device_graphs == records
    told = json.loads((folder / "ports.json").read_text())
    (folder / "ports.json").write_text(json.dumps({**told, "made_from": {"offline.onnx": "0"}}))
    result = call("verify", artifact, "--target", "onnx", "--package", folder)
    assert result.exit_code != 0
    assert "other graphs" in result.stderr
    assert call("verify", artifact, "--package", folder).exit_code == 2


def _change(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    told = json.loads((folder / "ports.json").read_text())
    change(told)
    (folder / "ports.json").write_text(json.dumps(told))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda told: told["states"][0].update(initial=5.0), "other states"),
        (lambda told: told["states"][0].update(dtype="int64"), "other states"),
        (lambda told: told["states"].pop(), "other states"),
        (lambda told: told["inputs"][0].update(dtype="float64"), "other inputs"),
        (lambda told: told["inputs"][0].update(time_axis=2), "other inputs"),
        (lambda told: told["offline"]["outputs"][0].update(name="other"), "other offline"),
        (lambda told: told.update(block=1), "other block"),
        (lambda told: told.update(more=1), "other more"),
        (lambda told: told.update(offline=None), "damaged"),
    ],
)
def test_ports_that_do_not_describe_the_graphs_beside_them_are_refused(
    artifact: Path, packaged: Path, tmp_path: Path, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    folder = shutil.copytree(packaged, tmp_path / "device")
    _change(folder, change)
    result = call("verify", artifact, "--target", "onnx", "--package", folder)
    assert result.exit_code == 2
    assert said in result.stderr
    assert "ports.json" in result.stderr
    assert not open_artifact(artifact).manifest.device_graphs


@pytest.fixture(scope="module")
def packaged(tiny_build: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("packaged") / "device"
    assert call("package", tiny_build.place / "deep" / "out", "--target", "onnx", "--out", folder).exit_code == 0
    return folder


@pytest.mark.parametrize("name", ["stream.device.onnx", "offline.device.onnx", "ports.json"])
@pytest.mark.parametrize("size", [None, 0, 100, -1])
def test_a_missing_or_damaged_file_of_a_folder_is_named_by_its_own_path(
    artifact: Path, packaged: Path, tmp_path: Path, name: str, size: int | None
) -> None:
    folder = shutil.copytree(packaged, tmp_path / "device")
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    if size is not None:
        (folder / name).write_bytes(content[:size] if size >= 0 else b"\xff" * len(content))
    result = call("verify", artifact, "--target", "onnx", "--package", folder)
    assert result.exit_code == 2
    assert (f"{folder} has no {name}" if size is None else str(folder / name)) in result.stderr
    assert "Error:" not in result.stderr.removeprefix("Error:")
    assert "Errno" not in result.stderr


def test_a_graph_that_onnxruntime_cannot_load_is_named_by_its_own_path(artifact: Path, packaged: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(packaged, tmp_path / "device")
    model = onnx.load(folder / "stream.device.onnx")
    model.graph.node[0].op_type = "Unheard"
    onnx.save(model, folder / "stream.device.onnx")
    result = call("verify", artifact, "--target", "onnx", "--package", folder)
    assert result.exit_code == 2
    assert f"cannot load {folder / 'stream.device.onnx'}" in result.stderr


def test_a_length_belongs_to_whole_sequences(artifact: Path, tmp_path: Path) -> None:
    for arguments, said in ((("onnx", "--length", 0), "at least 1"), (("c", "--length", 8), "whole sequence")):
        result = call("package", artifact, "--target", arguments[0], "--out", tmp_path / "device", *arguments[1:])
        assert result.exit_code == 2
        assert said in result.stderr
        assert not (tmp_path / "device").exists()


def scanning(steps: int) -> onnx.ModelProto:
    """The loop x' = A x + r, with A outside of the body; the answer has the states before all steps and the last."""

    def value(name: str, *shape: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)

    inner = [
        helper.make_node("MatMul", ["x", "A"], ["moved"]),
        helper.make_node("Add", ["moved", "r"], ["after"]),
        helper.make_node("Identity", ["x"], ["before"]),
    ]
    body = helper.make_graph(inner, "body", [value("x", 1, 3), value("r", 1, 3)], [value("after", 1, 3), value("before", 1, 3)])
    node = helper.make_node("Scan", ["start", "u"], ["last", "states"], body=body, num_scan_inputs=1)
    A = np.random.default_rng(2).standard_normal((3, 3)).astype(np.float32) / 3
    graph = helper.make_graph(
        [node],
        "scan",
        [value("start", 1, 3), value("u", steps, 1, 3)],
        [value("last", 1, 3), value("states", steps, 1, 3)],
        [numpy_helper.from_array(A, "A")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@pytest.mark.parametrize("steps", [1, 5, LONGEST, LONGEST + 1])
def test_loops_are_written_out_or_own_their_constants(steps: int) -> None:
    model = scanning(steps)
    generator = np.random.default_rng(3)
    feeds = {
        name: generator.standard_normal(shape).astype(np.float32) for name, shape in (("start", (1, 3)), ("u", (steps, 1, 3)))
    }
    expected = onnxruntime.InferenceSession(model.SerializeToString()).run(None, feeds)
    write_out_loops(model)
    onnx.checker.check_model(model, full_check=True)
    for found, right in zip(onnxruntime.InferenceSession(model.SerializeToString()).run(None, feeds), expected, strict=True):
        np.testing.assert_allclose(found, right, rtol=1e-5, atol=1e-6)
    scans = [node for node in model.graph.node if node.op_type == "Scan"]
    assert len(scans) == (steps > LONGEST)
    for scan in scans:
        (body,) = (entry.g for entry in scan.attribute if entry.name == "body")
        assert [constant.name for constant in body.initializer] == ["A"]


@pytest.mark.parametrize(("channels", "longer"), [(6, True), (5, False)])
def test_rows_that_are_cut_from_a_square_come_from_more_rows(channels: int, longer: bool) -> None:
    sizes = {"rows": [1, 6, channels], "start": [0], "stop": [4], "axis": [1]}
    stored = [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in sizes.items()]
    shapes = {"x": (1, 2, 3, channels), "y": (1, 4, channels)}
    port = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    nodes = [
        helper.make_node("Reshape", ["x", "rows"], ["all"]),
        helper.make_node("Slice", ["all", "start", "stop", "axis"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "square", port[:1], port[1:], stored)
    known = {**shapes, "all": (1, 6, channels)}
    without_squares(graph, {name: np.array(value) for name, value in sizes.items()}, known)
    assert ("Concat" in {node.op_type for node in graph.node}) == longer
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    x = np.random.default_rng(9).standard_normal(shapes["x"]).astype(np.float32)
    (found,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    np.testing.assert_array_equal(found, x.reshape(1, 6, channels)[:, :4])


def test_gelu_halves_first() -> None:
    constants = {"root": 2.0**0.5, "one": 1.0, "half": 0.5}
    nodes = [
        helper.make_node("Div", ["x", "root"], ["a"]),
        helper.make_node("Erf", ["a"], ["b"]),
        helper.make_node("Add", ["b", "one"], ["c"]),
        helper.make_node("Mul", ["x", "c"], ["d"]),
        helper.make_node("Mul", ["d", "half"], ["y"]),
    ]
    port = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 50]) for name in "xy"]
    stored = [numpy_helper.from_array(np.array(value, np.float32), name) for name, value in constants.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "gelu", port[:1], port[1:], stored), opset_imports=[helper.make_opsetid("", 18)], ir_version=9
    )
    x = np.linspace(-4, 4, 50, dtype=np.float32)[None]
    (expected,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    half_first(model.graph, {name: np.array(value) for name, value in constants.items()})
    assert [list(node.input) for node in model.graph.node[-2:]] == [["x", "half"], ["d", "c"]]
    (found,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", ["ReduceSum", "ReduceMean"])
@pytest.mark.parametrize(
    ("shape", "axes"), [((1, 7, 4, 8), (2,)), ((1, 3, 4, 2, 5), (1, 2)), ((1, 6, 5), (1,)), ((1, 6, 5), (-1,))]
)
@pytest.mark.parametrize("keepdims", [0, 1])
def test_sums_and_means_are_products(kind: str, shape: tuple[int, ...], axes: tuple[int, ...], keepdims: int) -> None:
    x = np.random.default_rng(4).standard_normal(shape).astype(np.float32)
    expected = (np.sum if kind == "ReduceSum" else np.mean)(x.astype(np.float64), axes, keepdims=bool(keepdims))
    port = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, sizes) for name, sizes in (("x", shape), ("y", None))]
    graph = helper.make_graph([], "sum", port[:1], port[1:])
    node = helper.make_node(kind, ["x", "axes"], ["y"], keepdims=keepdims)
    graph.node.extend(as_product(node, {"axes": np.array(axes)}, {"x": shape}, graph))
    assert {one.op_type for one in graph.node} <= {"Reshape", "MatMul"}
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (found,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("around", [(0, 0, 0, 0, 0, 0), (0, 0, 0, 0, 7, 0), (0, 3, 0, 0, 0, 0), (0, 0, 2, 0, 0, 1)])
def test_zeros_are_joined(around: tuple[int, ...]) -> None:
    x = np.random.default_rng(6).standard_normal((1, 5, 4)).astype(np.float32)
    expected = np.pad(x, list(zip(around[:3], around[3:], strict=True)))
    port = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, y.shape) for name, y in (("x", x), ("y", expected))]
    graph = helper.make_graph([], "pad", port[:1], port[1:])
    graph.node.extend(
        as_joined(helper.make_node("Pad", ["x", "around"], ["y"]), {"around": np.array(around)}, {"x": x.shape}, graph)
    )
    assert [node.op_type for node in graph.node] == ["Concat" if any(around) else "Identity"]
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (found,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("around", "value", "mode"),
    [
        ((0, 1, 1, 0, 0, 0), 0, "constant"),
        ((0, -1, 0, 0, 0, 0), 0, "constant"),
        ((1, 0, 0, 0, 0, 0), 0, "constant"),
        ((0, 1, 0, 0, 0, 0), 2, "constant"),
        ((0, 1, 0, 0, 0, 0), 0, "edge"),
    ],
)
def test_other_padding_stays(around: tuple[int, ...], value: float, mode: str) -> None:
    node = helper.make_node("Pad", ["x", "around", "value"], ["y"], mode=mode)
    constants = {"around": np.array(around), "value": np.array(value, np.float32)}
    assert as_joined(node, constants, {"x": (1, 5, 4)}, onnx.GraphProto()) == [node]


@pytest.mark.parametrize("axes", [(0,), (1, 3), ()])
def test_sums_over_the_batch_or_over_axes_apart_stay(axes: tuple[int, ...]) -> None:
    node = helper.make_node("ReduceSum", ["x", "axes"], ["y"])
    graph = onnx.GraphProto()
    assert as_product(node, {"axes": np.array(axes, np.int64)}, {"x": (1, 2, 3, 4)}, graph) == [node]
    assert not graph.initializer


def test_a_folded_graph_folds_once_more(tmp_path: Path) -> None:
    # onnxruntime puts reshapes together under a name of its own, and refuses a graph that has this name already.
    shapes = {"x": [1, 4], "y": [4, 1]}
    port = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, sizes) for name, sizes in shapes.items()]
    sizes = {"square": [2, 2], "row": [4], "column": [4, 1]}
    constants = [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in sizes.items()]

    def turned(given: str, made: str, last: str) -> list[onnx.NodeProto]:
        middle = f"{made}.square"
        return [helper.make_node("Reshape", [given, "square"], [middle]), helper.make_node("Reshape", [middle, last], [made])]

    nodes = [*turned("x", "a", "row"), helper.make_node("Exp", ["a"], ["b"]), helper.make_node("Reshape", ["b", "column"], ["y"])]
    graph = helper.make_graph(nodes, "twice", port[:1], port[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, tmp_path / "once.onnx")
    once = folded(tmp_path / "once.onnx")
    once.graph.node.pop()
    known = {value.name for value in once.graph.initializer}
    once.graph.initializer.extend(value for value in constants if value.name not in known)
    once.graph.node.extend([*turned("b", "c", "column"), helper.make_node("Exp", ["c"], ["y"])])
    x = np.random.default_rng(5).standard_normal((1, 4)).astype(np.float32)
    (found,) = onnxruntime.InferenceSession(once.SerializeToString()).run(None, {"x": x})
    np.testing.assert_allclose(found, np.exp(np.exp(x)).T, rtol=1e-5)


def test_sums_and_pads_of_symbols_keep_their_type(tmp_path: Path) -> None:
    """Weights and zeros that stand in for them are float32."""
    padded = helper.make_node("Pad", ["symbols", "around"], ["padded"])
    summed = helper.make_node("ReduceSum", ["padded", "axes"], ["counted"], keepdims=0)
    graph = helper.make_graph(
        [padded, summed],
        "symbols",
        [helper.make_tensor_value_info("symbols", onnx.TensorProto.INT64, [1, 4])],
        [helper.make_tensor_value_info("counted", onnx.TensorProto.INT64, [1])],
        [numpy_helper.from_array(np.array([0, 1, 0, 0]), "around"), numpy_helper.from_array(np.array([1]), "axes")],
    )
    path = tmp_path / "symbols.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), path)
    made = device_graph(path, {})
    answer = onnxruntime.InferenceSession(made.SerializeToString()).run(None, {"symbols": np.array([[1, 2, 3, 4]])})
    assert answer[0].tolist() == [10]
