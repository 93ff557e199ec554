"""Both graphs of a model with MIMO and quadratic-output blocks: any length, any batch, any block."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from models.sysid import model as sysid
from ssm2edge.export import export_offline, export_stream
from ssm2edge.layers import exportable, find_layers, replace_layers
from ssm2edge.reduction.layerwise import reduce_layers
from ssm2edge.runtime import Model, Stream
from ssm2edge.traced import InputAxes, TracedModel, trace
from tests.slow_cases import slow

Array = NDArray[np.float32]


@cache
def reduced(rank: int) -> nn.Module:
    """Two blocks of 12 states reduced to the odd order 5."""
    torch.manual_seed(0)
    model = sysid.make(width=4, states=12, rank=rank, layers=2).eval()
    systems = {layer.name: layer.system for layer in find_layers(model)}
    reductions = reduce_layers(systems, dict.fromkeys(systems, 5), "balanced", 64)
    assert all(not reduction.system.batch_shape for reduction in reductions.values())
    return replace_layers(model, {name: reduction.system for name, reduction in reductions.items()})


@cache
def traced(rank: int) -> TracedModel:
    return trace(exportable(reduced(rank)), [InputAxes("voltage", 1, torch.zeros(1, 8, 1))])


def signals(batch: int, length: int) -> Array:
    return np.random.default_rng(length).standard_normal((batch, length, 1)).astype(np.float32)


def answer(rank: int, u: Array) -> Array:
    with torch.no_grad():
        return np.asarray(reduced(rank)(torch.from_numpy(u)))


def close(actual: Array, expected: Array) -> None:
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("rank", [slow(0), 2])
def test_offline_graph_is_the_model_at_every_length(tmp_path: Path, rank: int) -> None:
    onnx.save(export_offline(traced(rank)), tmp_path / "offline.onnx")
    with Model(tmp_path / "offline.onnx") as model:
        for batch, length in ((1, 1), (3, 2), (2, 15), (1, 16), (2, 33), (1, 300)):
            u = signals(batch, length)
            close(model.run({"voltage": u})["output"], answer(rank, u))


@pytest.mark.parametrize("rank", [slow(0), 2])
@pytest.mark.parametrize("block", [slow(1), 6])
def test_stream_is_the_model_and_names_its_states(tmp_path: Path, rank: int, block: int) -> None:
    graph, states = export_stream(traced(rank), block)
    assert [(state.input_name, state.shape) for state in states] == [
        ("state.layers.0.lru", (5,)),
        ("state.layers.1.lru", (5,)),
    ]
    onnx.save(graph, tmp_path / "stream.onnx")
    u = signals(2, 10 * block)
    with Stream(tmp_path / "stream.onnx", 2) as stream:
        parts = [stream.push({"voltage": u[:, start : start + block]})["output"] for start in range(0, 10 * block, block)]
    close(np.concatenate(parts, 1), answer(rank, u))


@pytest.mark.slow
def test_graphs_stay_small_and_of_standard_operators() -> None:
    offline, (stream, _) = export_offline(traced(2)), export_stream(traced(2), 1)
    parameters = 4 * sum(p.numel() for p in reduced(2).parameters())
    for graph in (offline, stream):
        assert not graph.functions
        assert {node.domain for node in graph.graph.node} <= {""}
        assert sum(tensor.ByteSize() for tensor in graph.graph.initializer) < 2 * parameters + 8192
    assert not any(node.op_type in ("Loop", "RNN") for node in offline.graph.node)
