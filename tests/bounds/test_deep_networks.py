"""Running a network for its bound takes memory for its width, not for its depth."""

from __future__ import annotations

import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, fx

from models.digits.model import make
from ssm2edge.layers import exportable, find_layers, replace_layers
from ssm2edge.traced import InputAxes, Network, trace


def most_held(layers: int) -> int:
    """Values of a network that are alive at one time, at most."""
    torch.manual_seed(0)
    model = make(channels=4, states=4, layers=layers).eval()
    systems = {layer.name: layer.system for layer in find_layers(model)}
    network = Network(trace(exportable(replace_layers(model, systems)), [InputAxes("pixels", 1, torch.zeros(1, 5, 1))]).program)
    seen: list[weakref.ref[Tensor]] = []
    held: list[int] = []

    def watch(node: fx.Node, args: tuple[Any, ...], value: Any) -> Any:
        if isinstance(value, Tensor):
            seen.append(weakref.ref(value))
        held.append(sum(reference() is not None for reference in seen))
        return value

    pixels = torch.randn(2, 20, 1)
    with torch.no_grad():
        (found,) = network.run(systems, [pixels], watch)
        torch.testing.assert_close(found, model(pixels), rtol=1e-4, atol=1e-4)
    return max(held)


@pytest.mark.slow
def test_values_are_let_go_when_nothing_needs_them() -> None:
    assert most_held(6) == most_held(2) < 10
