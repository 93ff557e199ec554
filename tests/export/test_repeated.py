"""Lengths are asked for once, and what follows from them is computed once, whatever the number of layers."""

from __future__ import annotations

import json
from collections import Counter
from functools import cache

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from models.digits.model import S4D
from ssm2edge.export import export_offline
from ssm2edge.export.passes.share_lengths import compute_lengths_once
from ssm2edge.traced import InputAxes, trace
from tests.export.test_passes import Stack, assert_same, by_hand, node, noise, operators, rewritten, session
from tests.small_models import replaced, traced

LENGTHS = frozenset({"Neg", "Mod", "ConstantOfShape"})


@cache
def offline(layers: int) -> onnx.ModelProto:
    return export_offline(trace(replaced(Stack(layers).eval()), [InputAxes("u", 1, torch.zeros(1, 5, 2))]))


def arithmetic(model: onnx.ModelProto) -> Counter[str]:
    return Counter({name: count for name, count in operators(model).items() if name in LENGTHS})


@pytest.mark.slow
def test_layers_share_their_lengths() -> None:
    assert arithmetic(offline(1)) == arithmetic(offline(3))
    assert arithmetic(offline(3))["Mod"] == 2  # samples to whole chunks, chunks to whole groups


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("shape", [(1, 1, 2), (3, 7, 2), (2, 300, 2)])
def test_the_graph_is_the_model(layers: int, shape: tuple[int, ...]) -> None:
    u = noise(*shape)
    with torch.no_grad():
        expected = Stack(layers).eval()(torch.from_numpy(u)).numpy()
    (found,) = session(offline(layers)).run(None, {"u": u})
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-5)


def test_lengths_of_different_symbols_stay_apart_and_equal_values_are_computed_once() -> None:
    nodes = [
        node("Concat", "u u", "twice", axis=1),
        node("Shape", "u", "short", start=1, end=2),
        node("Shape", "twice", "long", start=1, end=2),
        node("Shape", "relu", "again", start=1, end=2),
        node("Sub", "long short", "difference"),
        node("Sub", "long again", "same"),
        node("Relu", "u", "relu"),
        node("Relu", "u", "other"),
        node("Add", "relu other", "sum"),
        node("Slice", "sum zero difference one", "cut"),
        node("Slice", "cut zero same one", "y"),
    ]
    shapes: dict[str, list[int | str]] = {"u": ["batch", "time"], "relu": ["batch", "time"], "twice": ["batch", "2*time"]}
    shapes["y"] = ["batch", "cut"]
    nodes = [nodes[6], *nodes[:6], *nodes[7:]]
    model = by_hand(nodes, shapes, "y", zero=np.array([0]), one=np.array([1]))
    after = assert_same(compute_lengths_once, model, noise(2, 5))
    assert operators(after)["Shape"] == 2
    assert operators(after)["Relu"] == 1


def test_random_values_are_never_the_same() -> None:
    nodes = [
        node("Shape", "u", "first", start=0, end=1),
        node("RandomNormal", "", "a", shape=[1]),
        node("RandomNormal", "", "b", shape=[1]),
        node("Sub", "a b", "difference"),
        node("Add", "u difference", "y"),
    ]
    model = by_hand(nodes, {"u": ["batch"], "y": ["batch"]}, "y")
    assert operators(rewritten(compute_lengths_once, model))["RandomNormal"] == 2


class CalledTwice(nn.Module):
    """One layer on the same value twice, and on another value."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = S4D(4, 6)

    def forward(self, u: Tensor) -> Tensor:
        first, again = self.layer(u)[0], self.layer(u)[0]
        y: Tensor = self.layer(torch.tanh(first) + again)[0]
        return y


def test_calls_of_a_layer_on_the_same_value_are_one() -> None:
    model, u = CalledTwice().eval(), noise(2, 4, 50)
    graph = export_offline(traced(model))
    assert operators(graph)["Scan"] == 2
    metadata = {entry.key: entry.value for entry in graph.metadata_props}
    assert [layer["name"] for layer in json.loads(metadata["ssm2edge.layers"])] == ["layer", "layer@3"]
    with torch.no_grad():
        expected = model(torch.from_numpy(u)).numpy()
    np.testing.assert_allclose(session(graph).run(None, {"u": u})[0], expected, rtol=1e-4, atol=2e-5)
