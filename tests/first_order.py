"""Small graphs for tests: a bank of first-order filters, as a sequence or averaged over time, whole or in blocks.

    h[k] = a h[k-1] + b u[k]        y[k] = h[k]        or        y = mean of h[0..L-1], scaled to class scores

The RNN operator with an affine activation runs it in one node, so that a graph is a few lines.  `filtered` is the oracle.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ssm2edge.artifact import (
    Accuracy,
    BatchLatency,
    GraphCost,
    Latency,
    LayerRecord,
    Manifest,
    OriginalRecord,
    Parameters,
    Ratio,
    Reference,
    Source,
    StateRecord,
    Streaming,
    seal,
    staging,
)

Array = NDArray[np.float32]
Change = Callable[[onnx.ModelProto], None]

POLES = np.array([0.9, -0.5, 0.97], dtype=np.float32)
GAINS = np.array([0.3, 1.0, -0.2], dtype=np.float32)


def filtered(samples: Array, mean: bool) -> Array:
    """Oracle in float64: `samples` is [batch, time, 1], the result [batch, time, 3] or [batch, 3]."""
    state = np.zeros((len(samples), len(POLES)))
    outputs = []
    for k in range(samples.shape[1]):
        state = POLES.astype(np.float64) * state + GAINS.astype(np.float64) * samples[:, k]
        outputs.append(state)
    sequence = np.stack(outputs, axis=1)
    return (sequence.mean(axis=1) if mean else sequence).astype(np.float32)


def offline_graph(mean: bool) -> onnx.ModelProto:
    """Whole sequences."""
    nodes = [
        helper.make_node("Transpose", ["u"], ["u_first"], perm=[1, 0, 2]),
        _rnn("u_first", "", "h_first", ""),
        helper.make_node("Squeeze", ["h_first", "axis_one"], ["h_time"]),
        helper.make_node("Transpose", ["h_time"], ["h"], perm=[1, 0, 2]),
        helper.make_node("ReduceMean", ["h", "axis_one"], ["output"], keepdims=0) if mean else _copy("h", "output"),
    ]
    inputs = [_tensor("u", ["batch", "time", 1])]
    outputs = [_tensor("output", ["batch", 3] if mean else ["batch", "time", 3])]
    return _model(nodes, inputs, outputs, {"ssm2edge.kind": "offline", **_axes(mean)})


def stream_graph(mean: bool, block: int, flush: bool = True) -> onnx.ModelProto:
    """One block, with the filters' state and (for the mean) a running sum and count; `flush` keeps the state from subnormals."""
    nodes = [
        helper.make_node("Transpose", ["u"], ["u_first"], perm=[1, 0, 2]),
        helper.make_node("Unsqueeze", ["state.filter", "axis_zero"], ["h_before"]),
        _rnn("u_first", "h_before", "h_first", "h_after"),
        helper.make_node("Squeeze", ["h_first", "axis_one"], ["h_time"]),
        helper.make_node("Transpose", ["h_time"], ["h"], perm=[1, 0, 2]),
        helper.make_node("Squeeze", ["h_after", "axis_zero"], ["h_last"]),
    ]
    if flush:
        nodes += [
            helper.make_node("Abs", ["h_last"], ["h_size"]),
            helper.make_node("Greater", ["h_size", "floor"], ["h_keep"]),
            helper.make_node("Where", ["h_keep", "h_last", "nothing"], ["next.filter"]),
        ]
    else:
        nodes.append(_copy("h_last", "next.filter"))
    states = [{"input": "state.filter", "output": "next.filter", "shape": [3], "initial": 0.0}]
    if mean:
        nodes += [
            helper.make_node("ReduceSum", ["h", "axis_one"], ["block_sum"], keepdims=0),
            helper.make_node("Add", ["state.sum", "block_sum"], ["next.sum"]),
            helper.make_node("Add", ["state.count", "block_size"], ["next.count"]),
            helper.make_node("Div", ["next.sum", "next.count"], ["output"]),
        ]
        states.append({"input": "state.sum", "output": "next.sum", "shape": [3], "initial": 0.0})
        states.append({"input": "state.count", "output": "next.count", "shape": [1], "initial": 0.0})
    else:
        nodes.append(_copy("h", "output"))
    inputs = [_tensor("u", ["batch", block, 1])] + [_tensor(s["input"], ["batch", *s["shape"]]) for s in states]
    outputs = [_tensor("output", ["batch", 3] if mean else ["batch", block, 3])]
    outputs += [_tensor(s["output"], ["batch", *s["shape"]]) for s in states]
    metadata = {"ssm2edge.kind": "stream", "ssm2edge.block": str(block), "ssm2edge.states": json.dumps(states), **_axes(mean)}
    return _model(nodes, inputs, outputs, metadata, block)


def states_of(graph: onnx.ModelProto) -> tuple[StateRecord, ...]:
    """The states in a graph's metadata."""
    (text,) = (entry.value for entry in graph.metadata_props if entry.key == "ssm2edge.states")
    return tuple(StateRecord(s["input"], s["output"], tuple(s["shape"]), s["initial"]) for s in json.loads(text))


def reference(mean: bool, samples: int = 12, length: int = 40) -> Reference:
    """A pack whose original and reduced outputs are the oracle's; labels are its answers, but for one in four."""
    inputs = np.random.default_rng(0).standard_normal((samples, length, 1)).astype(np.float32)
    outputs = filtered(inputs, mean)
    labels = {}
    if mean:
        labels["output"] = outputs.argmax(axis=1)
        labels["output"][::4] = (labels["output"][::4] + 1) % 3
    return Reference({"u": inputs}, {"output": outputs}, {"output": outputs}, labels)


def manifest(pack: Reference, stream: onnx.ModelProto | None, block: int, task: Mapping[str, Any] | None = None) -> Manifest:
    """What a build of these graphs would say."""
    layer = LayerRecord("filter", "tests", "siso", 3, 1, 1, None, 0.0, 0.0, float(np.abs(POLES).max()), {"converged": 3})
    right = None if not pack.labels else float(np.mean(pack.original["output"].argmax(axis=1) == pack.labels["output"]))
    return Manifest(
        tool={"ssm2edge": "0"},
        source=Source("tests", "first_order:offline_graph", {"first_order.py": hashlib.sha256(b"").hexdigest()}),
        options={"order": 1},
        layers=(layer,),
        parameters=Parameters(6, 6, 6, 6),
        calibration=None,
        bound=None,
        task={"metric": "accuracy"} | dict(task or {}),
        accuracy=None if right is None else Accuracy(right, right, pack.samples),
        parity=None,
        latency=Latency("a processor", 1, 0.002, 0.001, {"offline": Ratio(0.5, 0.4, 0.6)}, {"offline": Ratio(0.1, 0.09, 0.11)}),
        original=OriginalRecord("cpu", "a processor", "0", 1, (BatchLatency(1, 0.002, 0.001, 0.003),)),
        costs={"offline": GraphCost(5, 1000)} | ({} if stream is None else {"stream": GraphCost(9, 100)}),
        streaming=Streaming(True, block, None) if stream is not None else Streaming(False, None, "it looks ahead"),
        states=states_of(stream) if stream is not None else (),
    )


def build(
    directory: Path,
    *,
    mean: bool = True,
    block: int = 4,
    streams: bool = True,
    flush: bool = True,
    change_offline: Change | None = None,
    change_stream: Change | None = None,
    pack: Reference | None = None,
    force: bool = False,
    task: Mapping[str, Any] | None = None,
) -> Path:
    """A whole artifact, sealed and published; the changes plant faults in the graphs."""
    pack = reference(mean) if pack is None else pack
    offline, stream = offline_graph(mean), stream_graph(mean, block, flush) if streams else None
    if change_offline is not None:
        change_offline(offline)
    if change_stream is not None and stream is not None:
        change_stream(stream)
    with staging(directory, force=force) as folder:
        onnx.save(offline, folder / "offline.onnx")
        if stream is not None:
            onnx.save(stream, folder / "stream.onnx")
        pack.save(folder)
        seal(folder, manifest(pack, stream, block, task))
    return directory


def _rnn(samples: str, before: str, sequence: str, last: str) -> onnx.NodeProto:
    return helper.make_node(
        "RNN",
        [samples, "W", "R", "", "", before] if before else [samples, "W", "R"],
        [sequence, last] if last else [sequence],
        hidden_size=3,
        activations=["Affine"],
        activation_alpha=[1.0],
        activation_beta=[0.0],
    )


def _copy(source: str, target: str) -> onnx.NodeProto:
    return helper.make_node("Identity", [source], [target])


def _tensor(name: str, shape: list[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _axes(mean: bool) -> dict[str, str]:
    return {
        "ssm2edge.inputs": json.dumps([{"name": "u", "time_axis": 1, "batch_axis": 0}]),
        "ssm2edge.outputs": json.dumps([{"name": "output", "time_axis": None if mean else 1, "batch_axis": 0}]),
    }


def _model(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    metadata: dict[str, str],
    block: int = 1,
) -> onnx.ModelProto:
    constants = {
        "W": GAINS.reshape(1, 3, 1),
        "R": np.diag(POLES)[None],
        "axis_zero": np.array([0]),
        "axis_one": np.array([1]),
        "floor": np.array(1e-30, dtype=np.float32),
        "nothing": np.array(0.0, dtype=np.float32),
        "block_size": np.array(block, dtype=np.float32),
    }
    used = {name for node in nodes for name in node.input}
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items() if name in used]
    graph = helper.make_graph(nodes, "first_order", inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, {"ssm2edge.schema": "1", **metadata})
    onnx.checker.check_model(model)
    return model
