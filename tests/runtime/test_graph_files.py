"""Only whole graphs of our own, of the right kind and schema, are run; anything else is told in one sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from ssm2edge.runtime import EdgeError, GraphError, InputError, Model, Stream
from tests.first_order import build, filtered, offline_graph, stream_graph

SAMPLES = np.random.default_rng(6).standard_normal((4, 11, 1)).astype(np.float32)


def edited(graph: onnx.ModelProto, folder: Path, **properties: str | None) -> Path:
    """The graph saved with some of its ``ssm2edge.*`` properties replaced, or removed where None."""
    current = {entry.key: entry.value for entry in graph.metadata_props}
    current |= {f"ssm2edge.{key}": value for key, value in properties.items()}
    helper.set_model_props(graph, {key: value for key, value in current.items() if value is not None})
    path = folder / "graph.onnx"
    onnx.save(graph, path)
    return path


@pytest.mark.parametrize("mean", [True, False])
def test_whole_sequences_equal_the_recursion(tmp_path: Path, mean: bool) -> None:
    path = edited(offline_graph(mean), tmp_path)
    with Model(path) as model:
        for length in (1, 2, 11):
            outputs = model.run(SAMPLES[:, :length])
            np.testing.assert_allclose(outputs["output"], filtered(SAMPLES[:, :length], mean), atol=2e-6)
        with pytest.raises(InputError, match="at least one"):
            model.run(SAMPLES[:, :0])
        with pytest.raises(InputError, match="at least 1"):
            model.run(SAMPLES[:0])
        with pytest.raises(InputError, match="float64"):
            model.run(SAMPLES.astype(np.float64))
    with pytest.raises(EdgeError, match="closed"):
        model.run(SAMPLES)


def test_build_directory_is_opened_by_its_name(tmp_path: Path) -> None:
    directory = build(tmp_path / "build", mean=False)
    with Model(directory) as model, Stream(directory, batch=4) as stream:
        whole, parts = model.run(SAMPLES)["output"], [stream.push(SAMPLES)["output"], stream.flush()["output"]]
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, atol=2e-6)


def test_why_a_model_cannot_stream_is_told(tmp_path: Path) -> None:
    directory = build(tmp_path / "build", streams=False)
    with pytest.raises(GraphError, match="it looks ahead"):
        Stream(directory)


def test_endless_manifest_is_not_read(tmp_path: Path) -> None:
    directory = build(tmp_path / "build")
    with (directory / "manifest.json").open("ab") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(GraphError, match=r"manifest\.json"):
        Model(directory)


def test_graph_that_differs_from_the_manifest_is_refused(tmp_path: Path) -> None:
    directory = build(tmp_path / "build")
    onnx.save(offline_graph(False), directory / "offline.onnx")
    with pytest.raises(GraphError, match="SHA-256"):
        Model(directory)
    (directory / "manifest.json").unlink()
    with pytest.raises(GraphError, match=r"manifest\.json"):
        Model(directory)


@pytest.mark.parametrize(
    ("properties", "said"),
    [
        ({"schema": None}, "not made by ssm2edge"),
        ({"schema": "0"}, "schema 0"),
        ({"kind": "stream", "block": "4", "states": "[]"}, "not a block of 4"),
        ({"kind": "step"}, "kind 'step'"),
        ({"inputs": None}, "cannot read"),
        ({"inputs": "[["}, "cannot read"),
        ({"inputs": "{}"}, "no input that runs along time|metadata lists none"),
        ({"inputs": json.dumps([{"name": "v", "time_axis": 1}])}, "cannot read"),
        ({"inputs": json.dumps([{"name": "u", "time_axis": 3}])}, "time axis 3"),
        ({"inputs": json.dumps([{"name": "u", "time_axis": 1, "batch_axis": 2}])}, "batch on axis 2"),
        ({"inputs": json.dumps([{"name": "u", "time_axis": None}])}, "runs along time"),
        ({"outputs": "[]"}, "metadata lists none"),
    ],
)
def test_metadata_that_does_not_fit_the_graph_is_refused(tmp_path: Path, properties: dict[str, str | None], said: str) -> None:
    with pytest.raises(GraphError, match=said):
        Model(edited(offline_graph(True), tmp_path, **properties))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"shape": [4]}, "state.filter"),
        ({"shape": [3, 1]}, "state.filter"),
        ({"input": "state.gone"}, "cannot read"),
        ({"initial": "much"}, "cannot read"),
    ],
)
def test_states_that_do_not_fit_the_graph_are_refused(tmp_path: Path, change: dict[str, object], said: str) -> None:
    state = {"input": "state.filter", "output": "next.filter", "shape": [3], "initial": 0.0} | change
    with pytest.raises(GraphError, match=said):
        Stream(edited(stream_graph(False, 4), tmp_path, states=json.dumps([state])))


def test_files_that_are_no_graphs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match="cannot be read"):
        Model(tmp_path / "nothing.onnx")
    with pytest.raises(GraphError, match="is it a build directory"):
        Model(tmp_path)
    whole = edited(offline_graph(True), tmp_path).read_bytes()
    for number, content in enumerate((b"", b"not a graph", whole[: len(whole) // 2])):
        path = tmp_path / f"{number}.onnx"
        path.write_bytes(content)
        with pytest.raises(GraphError) as caught:
            Model(path)
        assert "\n" not in str(caught.value)


def test_graphs_of_the_other_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match="kind stream"):
        Model(edited(stream_graph(True, 4), tmp_path))
    with pytest.raises(GraphError, match="kind offline"):
        Stream(edited(offline_graph(True), tmp_path))


def test_runtime_imports_numpy_and_onnxruntime_and_nothing_else(tmp_path: Path) -> None:
    directory = build(tmp_path / "build", mean=True, block=1)
    code = f"""
import sys
class OnlyTwoPackages:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in sys.stdlib_module_names | {{"numpy", "onnxruntime", "ssm2edge"}}:
            raise ModuleNotFoundError(f"{{name}} is not on the device", name=name)
sys.meta_path.insert(0, OnlyTwoPackages())
import numpy
from ssm2edge.runtime import Model, Stream
samples = numpy.ones((1, 9, 1), numpy.float32)
with Model({str(directory)!r}) as model, Stream({str(directory)!r}) as stream:
    assert numpy.allclose(model.run(samples)["output"], stream.push(samples)["output"], atol=1e-6)
ours = sorted(name for name in sys.modules if name.startswith("ssm2edge"))
door = {{"ssm2edge", "ssm2edge.errors", "ssm2edge.sweeps", "ssm2edge.sweeps.door"}}
assert all(name in door or name.startswith(("ssm2edge.runtime", "ssm2edge.api")) for name in ours), ours
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_run_that_fails_is_told_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    table = helper.make_tensor("table", onnx.TensorProto.FLOAT, [3, 2], range(6))
    tokens = helper.make_tensor_value_info("tokens", onnx.TensorProto.INT64, ["batch", "time"])
    output = helper.make_tensor_value_info("output", onnx.TensorProto.FLOAT, ["batch", "time", 2])
    lookup = helper.make_node("Gather", ["table", "tokens"], ["output"])
    graph = helper.make_graph([lookup], "lookup", [tokens], [output], [table])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    ports = {
        f"{side}s": json.dumps([{"name": name, "time_axis": 1}]) for side, name in (("input", "tokens"), ("output", "output"))
    }
    path = edited(model, tmp_path, schema="1", kind="offline", **ports)
    with Model(path) as opened:
        assert opened.run(np.array([[0, 2]]))["output"].tolist() == [[[0, 1], [4, 5]]]
        with pytest.raises(EdgeError, match="could not run"):
            opened.run(np.array([[7]]))
    assert capfd.readouterr() == ("", "")
