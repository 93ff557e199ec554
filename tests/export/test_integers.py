"""Weights as integers in graphs: the same numbers as in PyTorch, fewer bytes, and nothing left to do at run time."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, numpy_helper
from torch import Tensor, nn

from ssm2edge.export.offline import export_offline
from ssm2edge.export.stream import export_stream
from ssm2edge.layers import ReducedBank, exportable
from ssm2edge.quantisation import halve, round_weights, weights_of
from ssm2edge.stages.costs import stored_bytes
from ssm2edge.systems.system import concatenate
from ssm2edge.traced import InputAxes, TracedModel, trace
from tests.random_banks import random_bank
from tests.slow_cases import slow

WIDTH = 24
STORED = {3: TensorProto.UINT8, 4: TensorProto.UINT8, 8: TensorProto.INT8}


class Mixer(nn.Module):
    """``(batch, time, 16)`` through a table of products, a gated convolution, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(16, WIDTH)
        self.mix = nn.Conv1d(WIDTH, 2 * WIDTH, 1)
        self.head = nn.Linear(WIDTH, 40, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.mix(torch.tanh(self.encoder(x)).mT)
        answer: Tensor = self.head(nn.functional.glu(y, dim=1).mT)
        return answer


class Reader(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(50, 16)
        self.head = nn.Linear(16, 8)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.head(self.table(x))
        return answer


def rounded(model: nn.Module, bits: int) -> nn.Module:
    weights = weights_of(model)
    round_weights(weights, dict.fromkeys(weights, bits), {})
    halve(parameter for parameter in model.parameters() if parameter.ndim == 1)
    return model.eval()


def trace_of(model: nn.Module) -> TracedModel:
    return trace(model, [InputAxes("x", 1, torch.randn(1, 5, 16))])


def answer_of(graph: onnx.ModelProto, *inputs: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    names = [value.name for value in session.get_inputs()]
    return np.asarray(session.run(None, dict(zip(names, inputs, strict=True)))[0])


@pytest.mark.parametrize("bits", [4, 3, slow(8)])
def test_an_integer_graph_computes_the_rounded_model(bits: int) -> None:
    model, x = rounded(Mixer(), bits), torch.randn(2, 9, 16)
    graph = export_offline(trace_of(model), integers=True)
    expected = model(x).detach().numpy()
    np.testing.assert_allclose(answer_of(graph, x.numpy()), expected, atol=1e-6 * float(np.abs(expected).max()), rtol=0)
    kinds = Counter(value.data_type for value in graph.graph.initializer)
    assert kinds[STORED[bits]] >= 3
    weights = {name: one.parameter.numel() for name, one in weights_of(model).items()}
    left = [v for v in graph.graph.initializer if v.data_type == TensorProto.FLOAT and np.prod(v.dims) >= min(weights.values())]
    assert not left


@pytest.mark.parametrize("bits", [4, 3, slow(8)])
def test_a_stream_of_integers_computes_the_rounded_model(bits: int) -> None:
    model, x = rounded(Mixer(), bits), torch.randn(2, 1, 16)
    graph, _ = export_stream(trace_of(model), 1, integers=True)
    np.testing.assert_allclose(answer_of(graph, x.numpy()), model(x).detach().numpy(), atol=2e-6, rtol=0)


@pytest.mark.parametrize("bits", [4, 3, slow(8)])
def test_the_runtime_expands_integers_when_it_loads_a_graph(tmp_path: Path, bits: int) -> None:
    model = rounded(Mixer(), bits)
    operators = []
    for integers in (False, True):
        graph, _ = export_stream(trace_of(model), 1, integers=integers)
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(tmp_path / f"{integers}.onnx")
        onnxruntime.InferenceSession(graph.SerializeToString(), options)
        operators.append(Counter(node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node))
    assert operators[0] == operators[1]


def test_a_table_of_integers_is_read_by_its_rows() -> None:
    model = rounded(Reader(), 4)
    places = torch.randint(0, 50, (3, 7))
    with torch.no_grad():
        expected = model(places).numpy()
    graph = export_offline(trace(model, [InputAxes("x", 1, places[:1])]), integers=True)
    np.testing.assert_allclose(answer_of(graph, places.numpy()), expected, atol=1e-6)
    packed = [v for v in graph.graph.initializer if v.data_type == TensorProto.UINT8 and len(v.raw_data) >= 16]
    assert sum(numpy_helper.to_array(v).size for v in packed) == (50 * 16 + 8 * 16) // 2


def test_fewer_bits_take_fewer_bytes() -> None:
    sizes = [len(export_offline(trace_of(rounded(Mixer(), bits)), integers=True).SerializeToString()) for bits in (4, 8)]
    plain = len(export_offline(trace_of(Mixer().eval()), integers=True).SerializeToString())
    assert sizes[0] < sizes[1] < plain


class Wide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(64, 128)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.mix(x)
        return answer


def test_three_bits_take_fewer_bytes_than_four_where_nodes_are_worth_it() -> None:
    x = torch.randn(1, 5, 64)
    models = [rounded(Wide(), bits) for bits in (3, 4)]
    graphs = [export_offline(trace(model, [InputAxes("x", 1, x)]), integers=True) for model in models]
    kinds = [stored_bytes(graph) for graph in graphs]
    assert kinds[0]["int3"] == 64 * 128 * 3 // 8
    assert kinds[1]["int4"] == 64 * 128 // 2
    assert len(graphs[0].SerializeToString()) < len(graphs[1].SerializeToString())
    np.testing.assert_allclose(answer_of(graphs[0], x.numpy()), models[0](x).detach().numpy(), atol=2e-6)
    small = stored_bytes(export_offline(trace_of(rounded(Mixer(), 3)), integers=True))
    assert small["int4"]
    assert "int3" not in small


@pytest.mark.parametrize("columns", [39, 38])
def test_an_odd_number_of_integers_takes_a_byte_each(columns: int) -> None:
    """Several groups of a row have steps of their own, so 8 bits with one step a row do not hold the matrix."""

    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix = nn.Linear(columns, 3, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            answer: Tensor = self.mix(x)
            return answer

    x = torch.randn(1, 5, columns)
    for bits in (3, 4):
        model = rounded(Odd(), bits)
        graph = export_offline(trace(model, [InputAxes("x", 1, x)]), integers=True)
        kinds = stored_bytes(graph)
        assert kinds["int8" if columns % 2 else "int4"] == 3 * columns // (2 - columns % 2)
        assert "float32" not in kinds
        np.testing.assert_allclose(answer_of(graph, x.numpy()), model(x).detach().numpy(), atol=2e-6)


class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix, self.norm = nn.Conv1d(16, 32, 1), nn.BatchNorm1d(32)
        nn.init.uniform_(self.norm.running_var, 0.5, 2)
        nn.init.normal_(self.norm.running_mean)
        nn.init.normal_(self.norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.norm(self.mix(x.mT)).mT
        return answer


@pytest.mark.parametrize("stream", [False, slow(True)])
def test_batch_norms_leave_the_integers_before_them(stream: bool) -> None:
    """The exporter's optimiser would multiply the rows by numbers that are no steps."""
    model, x = rounded(Normed(), 8), torch.randn(2, 1 if stream else 9, 16)
    traced = trace_of(model)
    graph = export_stream(traced, 1, integers=True)[0] if stream else export_offline(traced, integers=True)
    assert stored_bytes(graph)["int8"] == 16 * 32
    expected = model(x).detach().numpy()
    np.testing.assert_allclose(answer_of(graph, x.numpy()), expected, atol=2e-6 * float(np.abs(expected).max()))


def test_trained_weights_are_written_as_they_are() -> None:
    traced_model = trace_of(Mixer().eval())
    graphs = [export_offline(traced_model, integers=integers).SerializeToString() for integers in (False, True)]
    assert graphs[0] == graphs[1]


@pytest.mark.parametrize("order", [4, slow(6)])
def test_poles_of_pairs_are_stored_once(order: int) -> None:
    """Some channels with conjugate pairs, some with real poles, some with both."""
    banks = [random_bank(16, order, seed=1, pairs=pairs) for pairs in (0, 1, order // 2)]
    model, u = ReducedBank(concatenate(banks)).eval(), torch.randn(2, 48, 9)
    traced = trace(exportable(model), [InputAxes("x", 2, u[:1])])
    plain, paired = (export_offline(traced, integers=integers) for integers in (False, True))
    assert np.array_equal(answer_of(plain, u.numpy()), answer_of(paired, u.numpy()))
    sizes = [sum(stored_bytes(graph).values()) for graph in (plain, paired)]
    assert sizes[0] - sizes[1] == 48 * order * 4 - 48 * order // 2


@pytest.mark.parametrize("channels", [3, 12, slow(24), slow(48)])
@pytest.mark.parametrize("coarse", [False, True])
def test_no_graph_grows_by_the_way_its_poles_are_stored(channels: int, coarse: bool) -> None:
    model = TwoBanks(channels).eval()
    for bank in (model.first, model.second):
        bank.coarse = coarse
    traced = trace(exportable(model), [InputAxes("x", 2, torch.randn(1, channels, 9))])
    plain, stored = (len(export_offline(traced, integers=integers).SerializeToString()) for integers in (False, True))
    assert stored <= plain


class TwoBanks(nn.Module):
    """Some channels with conjugate pairs, some with real poles, some with both; another order behind them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ReducedBank(concatenate([random_bank(channels // 3, 4, seed=1, pairs=pairs) for pairs in (0, 1, 2)]))
        self.second = ReducedBank(random_bank(channels, 6, seed=2))

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.second(torch.tanh(self.first(x)))
        return answer


@pytest.mark.parametrize("stream", [False, slow(True)])
def test_poles_of_16_bits_are_stored_as_such(stream: bool) -> None:
    model, u = TwoBanks(36).eval(), torch.randn(2, 36, 1 if stream else 9)
    for bank in (model.first, model.second):
        bank.coarse = True
    traced = trace(exportable(model), [InputAxes("x", 2, torch.randn(1, 36, 9))])

    def graph(integers: bool) -> onnx.ModelProto:
        return export_stream(traced, 1, integers)[0] if stream else export_offline(traced, integers=integers)

    def answer(graph: onnx.ModelProto) -> np.ndarray:
        session = onnxruntime.InferenceSession(graph.SerializeToString())
        shapes = {value.name: [size if isinstance(size, int) else 2 for size in value.shape] for value in session.get_inputs()}
        feeds = {name: np.linspace(-1, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape) for name, shape in shapes.items()}
        return np.asarray(session.run(None, feeds | {"x": u.numpy()})[0])

    plain, coarse = graph(False), graph(True)
    assert np.array_equal(answer(plain), answer(coarse))
    kinds = stored_bytes(coarse)
    assert kinds["int16"] == 2 * 36 * (4 + 6)
    assert sum(stored_bytes(plain).values()) - sum(kinds.values()) == 6 * 36 * (4 + 6)
