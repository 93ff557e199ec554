"""Layers that the graph could take for one another, and layers at the ends of a model: built, verified, named as they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from LRU_pytorch import LRU
from torch import Tensor, nn

import ssm2edge
from models.digits.model import S4D
from ssm2edge.runtime import Model
from tests import published_s4
from tests.layers_alike import WIDTH, Frozen

pytestmark = pytest.mark.usefixtures("brief_latencies")


class Bare(nn.Module):
    """One S4D layer, and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.s4d = S4D(WIDTH, 4)

    def forward(self, u: Tensor) -> Tensor:
        y: Tensor = self.s4d(u)[0]
        return y


class Around(nn.Module):
    """The same layer twice, with another between: the first is called again on what the second gives."""

    def __init__(self) -> None:
        super().__init__()
        self.outer, self.inner = unit(), unit()

    def forward(self, u: Tensor) -> Tensor:
        y: Tensor = self.outer(self.inner(self.outer(u)))
        return y


def unit() -> nn.Module:
    return LRU(WIDTH, WIDTH, 4, rmin=0.6, rmax=0.95, max_phase=3.14)


def built(model: nn.Module, out: Path, channels: int, time_axis: int = 1) -> list[str]:
    """Names of the layers in the offline graph of a model that is built, verified and answered as the model answers."""
    torch.manual_seed(0)
    u = torch.randn(24, 96, channels) if time_axis == 1 else torch.randn(24, channels, 96)
    artifact = ssm2edge.build(model.eval(), u, out, keep=1.0, time_axis=time_axis)
    assert artifact.verify().passed
    with torch.no_grad():
        expected = model(u[:3]).numpy()
    with Model(out) as graph:
        (found,) = graph.run(u[:3].numpy()).values()
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
        return list(graph.layers)


@pytest.mark.slow
def test_layers_with_equal_poles_are_two(tmp_path: Path) -> None:
    torch.manual_seed(0)
    assert built(Frozen(2), tmp_path / "out", 2) == ["layers.0", "layers.1"]
    names = [tensor.name for tensor in onnx.load(tmp_path / "out" / "offline.onnx").graph.initializer]
    assert sum(name.endswith("block.a") for name in names) == 1  # the exporter stores them once: what the test is about


@pytest.mark.slow
def test_directions_with_equal_poles_are_two(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = published_s4.make(bidirectional=True, d_state=8)
    names = built(model, tmp_path / "out", 1)
    assert names == [f"blocks.{block}.layer.{direction}" for block in (0, 1) for direction in ("causal", "anticausal")]


ENDS: dict[str, tuple[Callable[[], nn.Module], list[str]]] = {
    "last": (lambda: nn.Sequential(nn.Linear(2, WIDTH), unit()), ["1"]),
    "first": (lambda: nn.Sequential(unit(), nn.Linear(WIDTH, 2)), ["0"]),
    "only": (unit, [""]),
    "one behind the other": (lambda: nn.Sequential(unit(), unit()), ["0", "1"]),
    "called again": (Around, ["outer", "inner", "outer@2"]),
    "a bank alone": (Bare, ["s4d"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("place", ENDS)
def test_layers_at_the_ends_of_a_model(place: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    make, names = ENDS[place]
    channels = 2 if place == "last" else WIDTH
    assert built(make(), tmp_path / "out", channels, 2 if place == "a bank alone" else 1) == names
