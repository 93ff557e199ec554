"""Reduced models of every kind as graphs with their packs of responses."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.sysid import model as sysid
from ssm2edge.artifact import Reference, Responses
from ssm2edge.export import export_offline
from ssm2edge.layers import Examples, blocks, exportable, find_layers, realise_layers, replace_layers
from ssm2edge.reduction.layerwise import reduce_layers
from ssm2edge.stages.respond import respond
from ssm2edge.systems.system import System
from ssm2edge.traced import InputAxes, trace
from ssm2edge.verification import Subject
from ssm2edge.verification.parts import Layer
from tests import found_out_models, package_models, published_s4
from tests.model_directories import tiny_model

LENGTH, ORDER = 40, 3

NOTHING = {"output": np.zeros((1, 1), np.float32)}
NOBODY = Subject(Path("offline.onnx"), None, Reference({"u": np.zeros((1, 1, 1), np.float32)}, NOTHING, NOTHING))
"""Layers are looked at without anything else of an artifact."""


class Twice(nn.Module):
    """One layer, called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = tiny_model().layers[0]  # type: ignore[index]  # a list of modules

    def forward(self, u: Tensor) -> Tensor:
        z: Tensor = self.layer(u.transpose(1, 2))[0]
        return self.layer(z)[0].transpose(1, 2)


MODELS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "S4D": (tiny_model, 1),
    "S4, low rank": (partial(published_s4.make, d_state=8, rank=1), 1),
    "S4, both directions": (partial(published_s4.make, d_state=8, bidirectional=True), 1),
    "S5": (partial(package_models.make, "s5"), 1),
    "LRU": (partial(package_models.make, "lru"), 1),
    "quadratic outputs": (partial(sysid.make, width=6, states=8, rank=2, layers=2), 1),
    "long convolutions": (found_out_models.convolutions, 1),
    "called twice": (Twice, 4),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    subject: Subject
    before: dict[str, System]
    after: dict[str, System]

    @property
    def pack(self) -> Responses:
        assert self.subject.responses is not None
        return self.subject.responses

    @property
    def graph(self) -> Path:
        return self.subject.offline

    def layer(self, call: str) -> Layer:
        model = self.subject.model
        return Layer(self.graph, model.layer_inputs[call], model.layers[call])

    def changed(self, place: Path, change: Callable[[onnx.ModelProto], None]) -> Subject:
        """The same, but for a fault in the graph."""
        graph = onnx.load(self.graph)
        change(graph)
        onnx.save(graph, place)
        return dataclasses.replace(self.subject, offline=place)


def case_of(kind: str, place: Path) -> Case:
    """The model, its layers reduced, as a graph; quick, for nothing else of a build is needed."""
    make, width = MODELS[kind]
    torch.manual_seed(0)
    model = make().eval()
    signal = torch.randn(2, found_out_models.TAPS, width)
    model = realise_layers(model, Examples.of([signal], [1]))
    before = {layer.name: layer.system for layer in find_layers(model)}
    reductions = reduce_layers(before, dict.fromkeys(before, ORDER), "balanced", LENGTH)
    reduced = replace_layers(model, {name: reduction.system for name, reduction in reductions.items()})
    onnx.save(export_offline(trace(exportable(reduced), [InputAxes("u", 1, signal[:1])])), place)
    after = {name: block.system() for name, block in blocks(reduced).items()}
    subject = dataclasses.replace(NOBODY, offline=place)
    pack = respond(before, after, list(subject.model.layer_inputs), LENGTH)
    return Case(dataclasses.replace(subject, responses=pack), before, after)


def close(actual: NDArray[Any], expected: NDArray[Any], limit: float = 1e-5) -> None:
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= limit * np.abs(expected).max()
