"""Gated pointwise convolutions: rewritten as products where they are ones, left alone where they are not, equal either way."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from ssm2edge.export import export_offline, export_stream
from ssm2edge.traced import InputAxes, trace
from tests.onnx_sessions import session
from tests.slow_cases import slow

CHANNELS = 6


class SharedProduct(nn.Module):
    """A product whose halves are not only gated."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(CHANNELS, 2 * CHANNELS, 1)

    def forward(self, u: Tensor) -> Tensor:
        mixed = self.conv(u)
        return nn.functional.glu(mixed, 1) + mixed[:, :CHANNELS]


class SecondHalfFirst(nn.Module):
    """The gate is the first half: not a GLU."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(CHANNELS, 2 * CHANNELS, 1)

    def forward(self, u: Tensor) -> Tensor:
        first, second = self.conv(u).chunk(2, 1)
        return torch.sigmoid(first) * second


def pointwise(bias: bool = True, axis: int = 1) -> nn.Module:
    return nn.Sequential(nn.Conv1d(CHANNELS, 10, 1, bias=bias), nn.GLU(axis))


def convolution(**options: int) -> nn.Module:
    return nn.Sequential(nn.Conv1d(CHANNELS, 12, **options), nn.GLU(1))


def exported(model: nn.Module) -> onnx.ModelProto:
    return export_offline(trace(model.eval(), [InputAxes("u", 2, torch.zeros(2, CHANNELS, 9))]))


def assert_equal(model: nn.Module, graph: onnx.ModelProto, lengths: tuple[int, ...] = (1, 8)) -> None:
    run = session(graph)
    for batch, length in itertools.product((1, 3), lengths):
        u = np.random.default_rng(length).standard_normal((batch, CHANNELS, length)).astype(np.float32)
        with torch.no_grad():
            expected = model(torch.from_numpy(u)).numpy()
        actual = run.run(None, {"u": u})[0]
        assert actual.shape == expected.shape
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "model",
    [
        slow(pointwise()),
        slow(pointwise(bias=False)),
        slow(pointwise(axis=-2)),
        nn.Sequential(pointwise(), nn.Conv1d(5, CHANNELS, 1), pointwise()),
    ],
)
def test_gates_become_products(model: nn.Module) -> None:
    graph = exported(model)
    gates = sum(isinstance(part, nn.GLU) for part in model.modules())
    operators = Counter(node.op_type for node in graph.graph.node)
    assert operators["Gemm"] == 2 * gates
    assert operators["Conv"] == sum(isinstance(part, nn.Conv1d) for part in model.modules()) - gates
    assert_equal(model, graph)


@pytest.mark.parametrize(
    "model",
    [
        slow(convolution(kernel_size=3, padding=1)),
        slow(convolution(kernel_size=1, groups=2)),
        slow(convolution(kernel_size=1, padding=2)),
        SharedProduct(),
        slow(SecondHalfFirst()),
    ],
    ids=["wide", "grouped", "padded", "shared", "other half"],
)
def test_what_only_looks_alike_stays(model: nn.Module) -> None:
    graph = exported(model)
    operators = Counter(node.op_type for node in graph.graph.node)
    assert operators["Conv"] == 1
    assert operators["Gemm"] == 0
    assert_equal(model, graph)


@pytest.mark.parametrize("block", [slow(1), 4])
def test_gates_of_streams_become_products(block: int) -> None:
    model = pointwise().eval()
    graph, states = export_stream(trace(model, [InputAxes("u", 2, torch.zeros(2, CHANNELS, 9))]), block)
    assert not states
    operators = Counter(node.op_type for node in graph.graph.node)
    assert operators["Gemm"] == 2
    assert operators["Conv"] == 0
    assert operators["Transpose"] == (0 if block == 1 else 2)
    assert_equal(model, graph, (block,))
