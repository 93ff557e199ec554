"""The two ONNX files of a model with every kind of operation: equal to the model, described as documented, and plain."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.digits.model import S4D
from ssm2edge.export import export_offline, export_stream
from ssm2edge.export.onnx_graph import OLDEST_ONNXRUNTIME
from ssm2edge.traced import InputAxes, TracedModel, trace
from tests.onnx_sessions import session
from tests.small_models import replaced

Array = NDArray[np.float32]

BLOCKS = (1, 16)


class EveryRule(nn.Module):
    """``(batch, time, 2)`` to a sequence, two pooled answers and a channel-first sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(2, 4)
        self.layers = nn.ModuleList([S4D(4, 6), S4D(4, 7)])
        self.norm = nn.LayerNorm(4)
        self.batch_norm = nn.BatchNorm1d(4)
        self.mix = nn.Sequential(nn.Conv1d(4, 8, 1), nn.GLU(dim=-2))
        self.head = nn.Linear(4, 3)

    def forward(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        z = self.encoder(u).transpose(-1, -2)
        for layer in self.layers:
            z = z + torch.tanh(layer(self.batch_norm(z))[0])
        mixed = self.norm(self.mix(z).transpose(1, 2))
        grouped = mixed.view(u.shape[0], u.shape[1], 2, 2).softmax(-1).flatten(2)
        return grouped, self.head(mixed.mean(dim=1)), grouped.unflatten(-1, (2, 2)).mean((1, 3), keepdim=True), z


@dataclass(frozen=True, eq=False)
class Files:
    """A model and its graphs."""

    model: nn.Module
    form: TracedModel
    offline: onnx.ModelProto
    streams: dict[int, onnx.ModelProto]

    @property
    def graphs(self) -> list[onnx.ModelProto]:
        return [self.offline, *self.streams.values()]


@pytest.fixture(scope="module")
def files() -> Files:
    torch.manual_seed(0)
    model = EveryRule().eval()
    form = trace(replaced(model), [InputAxes("u", 1, torch.zeros(1, 5, 2))])
    return Files(model, form, export_offline(form), {block: export_stream(form, block)[0] for block in BLOCKS})


def noise(batch: int, length: int) -> Array:
    return np.random.default_rng(length).standard_normal((batch, length, 2)).astype(np.float32)


def close(actual: Array, expected: Array) -> None:
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("batch", [1, 4])
def test_offline_graph_is_the_model_at_every_length(files: Files, batch: int) -> None:
    run = session(files.offline)
    for length in (1, 2, 3, 15, 16, 17, 37, 130):
        u = noise(batch, length)
        with torch.no_grad():
            expected = files.model(torch.from_numpy(u))
        for actual, whole in zip(run.run(None, {"u": u}), expected, strict=True):
            close(actual, whole.numpy())


@pytest.mark.parametrize("block", BLOCKS)
def test_stream_is_the_offline_graph(files: Files, block: int) -> None:
    u = noise(3, 96)
    run, whole = session(files.streams[block]), session(files.offline).run(None, {"u": u})
    metadata = properties(files.streams[block])
    names = [output["name"] for output in metadata["outputs"]]
    time = [output["time_axis"] for output in metadata["outputs"]]
    feed = {state["input"]: np.full((3, *state["shape"]), state["initial"], np.float32) for state in metadata["states"]}
    parts: list[list[Array]] = []
    for start in range(0, 96, block):
        answer = dict(
            zip([o.name for o in run.get_outputs()], run.run(None, {"u": u[:, start : start + block], **feed}), strict=True)
        )
        parts.append([answer[name] for name in names])
        feed = {state["input"]: answer[state["output"]] for state in metadata["states"]}
    for values, axis, expected in zip(zip(*parts, strict=True), time, whole, strict=True):
        close(values[-1] if axis is None else np.concatenate(values, axis), expected)


def properties(model: onnx.ModelProto) -> dict[str, object]:
    assert all(entry.key.startswith("ssm2edge.") for entry in model.metadata_props)
    texts = {entry.key.removeprefix("ssm2edge."): entry.value for entry in model.metadata_props}
    return {key: json.loads(text) if text[0] in "[{" else text for key, text in texts.items()}


def sizes(values: object) -> list[tuple[str, list[int | str]]]:
    return [(v.name, [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim]) for v in values]  # type: ignore[attr-defined]  # protobuf


def test_offline_graph_describes_itself(files: Files) -> None:
    produced = {name for node in files.offline.graph.node for name in node.output}
    found = properties(files.offline)
    layers = found.pop("layers")
    assert isinstance(layers, list)
    assert [layer["name"] for layer in layers] == ["layers.0", "layers.1"]
    assert {layer["value"] for layer in layers} <= produced
    assert found == {
        "schema": "1",
        "oldest_onnxruntime": OLDEST_ONNXRUNTIME,
        "kind": "offline",
        "multiple": "1",
        "shortest": "1",
        "inputs": [{"name": "u", "time_axis": 1, "batch_axis": 0}],
        "outputs": [
            {"name": "output.0", "time_axis": 1, "batch_axis": 0},
            {"name": "output.1", "time_axis": None, "batch_axis": 0},
            {"name": "output.2", "time_axis": None, "batch_axis": 0},
            {"name": "output.3", "time_axis": 2, "batch_axis": 0},
        ],
    }
    assert sizes(files.offline.graph.input) == [("u", ["batch", "time", 2])]
    assert sizes(files.offline.graph.output) == [
        ("output.0", ["batch", "time", 4]),
        ("output.1", ["batch", 3]),
        ("output.2", ["batch", 1, 2, 1]),
        ("output.3", ["batch", 4, "time"]),
    ]


@pytest.mark.parametrize("block", BLOCKS)
def test_stream_describes_itself(files: Files, block: int) -> None:
    stream = properties(files.streams[block])
    states = stream.pop("states")
    offline = properties(files.offline)
    assert stream == {
        "schema": "1",
        "oldest_onnxruntime": OLDEST_ONNXRUNTIME,
        "kind": "stream",
        "block": str(block),
        "frame": "1",
        "inputs": offline["inputs"],
        "outputs": offline["outputs"],
    }
    assert isinstance(states, list)
    assert [tuple(state) for state in states] == [("input", "output", "shape", "initial")] * 4
    assert [state["input"] for state in states][:2] == ["state.layers.0", "state.layers.1"]
    assert [state["shape"] for state in states] == [[6, 4], [6, 4], [9], [5]]
    assert {state["initial"] for state in states} == {0.0}
    assert all(state["output"] == "next." + state["input"].removeprefix("state.") for state in states)
    graph = files.streams[block].graph
    assert sizes(graph.input) == [("u", ["batch", block, 2]), *((s["input"], ["batch", *s["shape"]]) for s in states)]
    assert sizes(graph.output)[4:] == [(s["output"], ["batch", *s["shape"]]) for s in states]
    assert sizes(graph.output)[0] == ("output.0", ["batch", block, 4])


def nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from nodes(attribute.g)


def test_graphs_are_plain(files: Files) -> None:
    complex_types = {onnx.TensorProto.COMPLEX64, onnx.TensorProto.COMPLEX128}
    for model in files.graphs:
        assert not model.functions
        assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
        assert {node.domain for node in nodes(model.graph)} == {""}
        assert not {"DFT", "STFT", "Loop", "If", "SequenceConstruct"} & {node.op_type for node in nodes(model.graph)}
        assert not complex_types & {tensor.data_type for tensor in model.graph.initializer}
        casts = [a.i for node in nodes(model.graph) if node.op_type == "Cast" for a in node.attribute if a.name == "to"]
        assert not complex_types & set(casts)


def test_one_short_loop_a_layer_offline_and_none_in_a_stream(files: Files) -> None:
    count = {id(model): sum(node.op_type == "Scan" for node in nodes(model.graph)) for model in files.graphs}
    assert [count[id(model)] for model in files.graphs] == [2, 0, 0]


def test_nothing_of_this_machine_or_of_the_exporter_stays(files: Files) -> None:
    for model in files.graphs:
        text = model.SerializeToString()
        for word in (b"site-packages", b"pkg.torch", b"/tests/", str(Path.cwd()).encode(), b"pytorch"):
            assert word not in text
        assert model.producer_name == "ssm2edge"


@pytest.mark.slow
def test_the_same_model_gives_the_same_bytes(files: Files) -> None:
    assert export_stream(files.form, 1)[0].SerializeToString() == files.streams[1].SerializeToString()


def test_loading_prints_nothing(files: Files, tmp_path: Path) -> None:
    for index, model in enumerate(files.graphs):
        onnx.save(model, tmp_path / f"{index}.onnx")
    code = "import sys, onnxruntime\nfor path in sys.argv[1:]: onnxruntime.InferenceSession(path)"
    paths = [str(path) for path in sorted(tmp_path.glob("*.onnx"))]
    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True, check=True)
    assert (len(paths), done.stdout, done.stderr) == (3, "", "")


@pytest.mark.slow
def test_file_sizes_follow_the_parameters() -> None:
    counts = []
    # Sizes of one kernel form: the plan changes between 16 and 64 channels.
    for channels in (64, 128):
        torch.manual_seed(0)
        form = trace(replaced(nn.Sequential(Last(channels))), [InputAxes("u", 2, torch.zeros(1, channels, 5))])
        counts.append(len(export_stream(form, 16)[0].SerializeToString()))
    # Real sections of order 8, and the gated mixing behind them.
    parameters = [4 * (channels * (3 * 8 + 1) + 2 * channels * channels + 2 * channels) for channels in (64, 128)]
    assert counts[1] - counts[0] == pytest.approx(parameters[1] - parameters[0], rel=0.01)


class Last(S4D):
    """One layer of order 8 that returns its tensor alone."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, 8)
        self.eval()

    def forward(self, u: Tensor) -> Tensor:  # type: ignore[override]  # the difference is the point
        return super().forward(u)[0]
