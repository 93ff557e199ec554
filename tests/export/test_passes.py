"""The passes over exported graphs: each leaves the values as they are, and does what it is there for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx_ir.passes import common as passes
from torch import Tensor, nn

from models.digits.model import S4D
from ssm2edge.export import export_offline, export_stream
from ssm2edge.export.passes.cancel_transposes import cancel_transposes
from ssm2edge.export.passes.drop_time_axis import write_single_samples_as_rows
from ssm2edge.export.passes.join_states import LARGEST_STATES
from ssm2edge.layers import blocks
from ssm2edge.quantisation import bits_of, round_block, round_weights, weights_of
from ssm2edge.traced import InputAxes, trace
from tests.onnx_sessions import session
from tests.slow_cases import slow
from tests.small_models import replaced

Array = NDArray[np.float32]


class Stack(nn.Module):
    """Layers of equal size, as deep models have them, ``(batch, time, 2)`` to ``(batch, time, 3)``."""

    def __init__(self, layers: int, channels: int = 8, states: int = 6) -> None:
        super().__init__()
        torch.manual_seed(layers)
        self.encoder = nn.Linear(2, channels)
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(layers))
        self.layers = nn.ModuleList(S4D(channels, states) for _ in range(layers))
        self.decoder = nn.Linear(channels, 3)

    def forward(self, u: Tensor) -> Tensor:
        z = self.encoder(u)
        for norm, layer in zip(self.norms, self.layers, strict=True):
            z = z + layer(norm(z).transpose(-1, -2))[0].transpose(-1, -2)
        y: Tensor = self.decoder(z)
        return y


@cache
def stream(layers: int, block: int) -> onnx.ModelProto:
    form = trace(replaced(Stack(layers).eval()), [InputAxes("u", 1, torch.zeros(1, 5, 2))])
    return export_stream(form, block)[0]


def operators(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


@pytest.mark.parametrize(("layers", "block"), [slow(1, 1), (3, 1), slow(3, 16), slow(1, 64)])
def test_streams_of_equal_layers_are_the_model(layers: int, block: int) -> None:
    u = np.random.default_rng(0).standard_normal((2, 128, 2)).astype(np.float32)
    with torch.no_grad():
        expected = Stack(layers).eval()(torch.from_numpy(u)).numpy()
    run = session(stream(layers, block))
    states = {port.name: np.zeros((2, *port.shape[1:]), np.float32) for port in run.get_inputs() if port.name != "u"}
    names = [port.name for port in run.get_outputs()]
    parts = []
    for start in range(0, 128, block):
        answer = dict(zip(names, run.run(None, {"u": u[:, start : start + block], **states}), strict=True))
        parts.append(answer["output"])
        states = {name: answer["next." + name.removeprefix("state.")] for name in states}
    np.testing.assert_allclose(np.concatenate(parts, 1), expected, rtol=1e-4, atol=2e-5)


def test_states_of_equal_layers_are_moved_together() -> None:
    one, three = operators(stream(1, 1)), operators(stream(3, 1))
    assert three["MatMul"] - one["MatMul"] <= 0
    assert three["Squeeze"] == one["Squeeze"] == 1


@pytest.mark.slow
def test_large_states_are_left_apart() -> None:
    torch.manual_seed(0)
    model = Stack(2, channels=LARGEST_STATES // 4, states=6).eval()
    graph = export_stream(trace(replaced(model), [InputAxes("u", 1, torch.zeros(1, 5, 2))]), 1)[0]
    assert operators(graph)["Squeeze"] == 2


def test_one_sample_has_no_time_to_move() -> None:
    assert operators(stream(3, 1))["Transpose"] == 3  # of the constants of the joint bank, folded when the graph is loaded


def value(name: str, shape: list[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def by_hand(nodes: list[onnx.NodeProto], values: dict[str, list[int | str]], output: str, **constants: Array) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "made by hand",
        [value("u", values["u"])],
        [value(output, values[output])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
        value_info=[value(name, shape) for name, shape in values.items() if name not in ("u", output)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model


def rewritten(rewrite: Callable[[ir.Model], object], model: onnx.ModelProto) -> onnx.ModelProto:
    """The model after a pass, without what nothing reads any more."""
    changed = ir.from_proto(model)
    rewrite(changed)
    passes.RemoveUnusedNodesPass()(changed)
    for value in (value for node in changed.graph for value in node.outputs if not value.is_graph_output()):
        value.type = value.shape = None
    return ir.to_proto(changed)


def assert_same(rewrite: Callable[[ir.Model], object], model: onnx.ModelProto, u: Array) -> onnx.ModelProto:
    after = rewritten(rewrite, model)
    onnx.checker.check_model(after, full_check=True)
    for a, b in zip(session(model).run(None, {"u": u}), session(after).run(None, {"u": u}), strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)
    return after


def node(operator: str, inputs: str, output: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(operator, inputs.split(), [output], **attributes)


def noise(*shape: int) -> Array:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def single_sample_model() -> onnx.ModelProto:
    """Every operation that has a form on rows, and a Softmax over what is not the channel, which has none."""
    nodes = [
        node("MatMul", "u weight", "a"),
        node("Add", "a bias", "b"),
        node("LayerNormalization", "b scale shift", "c", axis=2),
        node("Transpose", "c", "d", perm=[0, 2, 1]),
        node("Mul", "d column", "e"),
        node("Conv", "e kernel bias", "f"),
        node("Tanh", "f", "g"),
        node("Softmax", "g", "h", axis=2),
        node("Sub", "g h", "i"),
        node("Transpose", "i", "j", perm=[0, 2, 1]),
        node("Add", "j b", "k"),
        node("Mul", "k number", "y"),
    ]
    rows: list[int | str] = ["batch", 1, 4]
    columns: list[int | str] = ["batch", 4, 1]
    values: dict[str, list[int | str]] = {
        "u": ["batch", 1, 2],
        **dict.fromkeys("abcjky", rows),
        **dict.fromkeys("defghi", columns),
    }
    arrays = {"weight": noise(2, 4), "bias": noise(4), "scale": noise(4), "shift": noise(4), "column": noise(4, 1)}
    return by_hand(nodes, values, "y", kernel=noise(4, 4, 1), number=noise(1, 1, 1), **arrays)


@pytest.mark.parametrize("batch", [1, 3])
def test_single_samples_as_rows_are_the_same(batch: int) -> None:
    after = assert_same(lambda model: write_single_samples_as_rows(model.graph), single_sample_model(), noise(batch, 1, 2))
    found = operators(after)
    assert found["Transpose"] == found["Conv"] == 0
    assert found["Softmax"] == 1


def test_longer_blocks_are_no_rows() -> None:
    nodes = [node("Transpose", "u", "a", perm=[0, 2, 1]), node("Tanh", "a", "y")]
    model = by_hand(nodes, {"u": ["batch", 2, 4], "a": ["batch", 4, 2], "y": ["batch", 4, 2]}, "y")
    after = assert_same(lambda model: write_single_samples_as_rows(model.graph), model, noise(3, 2, 4))
    assert operators(after) == operators(model)


def test_rows_of_different_meaning_are_not_mixed() -> None:
    """(batch, 1, 4) and (batch, 4, 1) hold the same rows, but their sum is a matrix."""
    nodes = [node("Transpose", "u", "a", perm=[0, 2, 1]), node("Add", "u a", "y")]
    model = by_hand(nodes, {"u": ["batch", 1, 4], "a": ["batch", 4, 1], "y": ["batch", 4, 4]}, "y")
    assert_same(lambda model: write_single_samples_as_rows(model.graph), model, noise(3, 1, 4))


def test_transposes_cancel_through_what_lies_between() -> None:
    nodes = [
        node("Transpose", "u", "a", perm=[0, 2, 1]),
        node("Tanh", "a", "b"),
        node("Mul", "b number", "c"),
        node("Add", "a c", "d"),
        node("Transpose", "d", "e", perm=[0, 2, 1]),
        node("Add", "u e", "y"),
    ]
    turned: list[int | str] = ["batch", 4, 5]
    straight: list[int | str] = ["batch", 5, 4]
    values = dict.fromkeys("abcd", turned) | dict.fromkeys("uey", straight)
    after = assert_same(
        lambda model: cancel_transposes(model.graph), by_hand(nodes, values, "y", number=np.float32(2.0)), noise(2, 5, 4)
    )
    assert operators(after)["Transpose"] == 0


def test_transposes_that_something_reads_stay() -> None:
    nodes = [
        node("Transpose", "u", "a", perm=[1, 2, 0]),
        node("Transpose", "a", "b", perm=[1, 2, 0]),
        node("Tanh", "b", "c"),
        node("Mul", "c row", "y"),
    ]
    values: dict[str, list[int | str]] = {"u": [2, 5, 4], "a": [5, 4, 2], "b": [4, 2, 5], "c": [4, 2, 5], "y": [4, 2, 5]}
    after = assert_same(lambda model: cancel_transposes(model.graph), by_hand(nodes, values, "y", row=noise(5)), noise(2, 5, 4))
    assert operators(after)["Transpose"] == 1


def test_a_transpose_undone_at_the_output() -> None:
    nodes = [node("Transpose", "u", "a", perm=[1, 0]), node("Transpose", "a", "y", perm=[1, 0])]
    assert_same(
        lambda model: cancel_transposes(model.graph), by_hand(nodes, {"u": [2, 5], "a": [5, 2], "y": [2, 5]}, "y"), noise(2, 5)
    )


@pytest.mark.slow
def test_offline_layers_leave_no_transposes_between_them() -> None:
    graph = export_offline(trace(replaced(Stack(2).eval()), [InputAxes("u", 1, torch.zeros(1, 5, 2))])).graph
    produced = {name: node.op_type for node in graph.node for name in node.output}
    for one in graph.node:
        if one.op_type == "Transpose":
            assert produced.get(one.input[0]) != "Transpose"


@pytest.mark.parametrize(("channels", "states"), [slow(8, 4), slow(8, 16), slow(8, 32), slow(32, 8), slow(32, 32)])
@pytest.mark.parametrize("layers", [1, 3])
def test_numbers_of_few_bits_make_no_graph_larger(layers: int, channels: int, states: int) -> None:
    model = replaced(Stack(layers, channels, states).eval())
    weights = weights_of(model)
    round_weights(weights, bits_of(weights, "auto"), {})
    for block in blocks(model).values():
        round_block(block, 64, 1.0)
    form = trace(model, [InputAxes("u", 1, torch.zeros(1, 5, 2))])
    stored, plain = (export_stream(form, 1, integers=integers)[0].ByteSize() for integers in (True, False))
    assert stored <= plain
