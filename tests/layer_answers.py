"""What tests of layers ask all the time: what a model answers, how far that is from what is expected, and how it is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ssm2edge.layers import LayerError, find_layers, replace_layers


def noise(*shape: int, seed: int = 1) -> Tensor:
    """The same noise for the same seed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def relative(actual: Tensor, expected: Tensor) -> float:
    """Largest difference relative to the largest value."""
    return float((actual - expected).abs().max() / expected.abs().max())


def answers(model: nn.Module, u: Tensor, **arguments: Any) -> Tensor:
    """The output of a model that returns it alone, or before a state that is None."""
    with torch.no_grad():
        y = model(u, **arguments)
    if isinstance(y, tuple | list):
        y, state = y
        assert state is None
    assert isinstance(y, Tensor)
    return y


def full_order(model: nn.Module) -> nn.Module:
    """The model with a block of the same order in the place of every layer."""
    return replace_layers(model, {layer.name: layer.system for layer in find_layers(model)})


def refusal(call: Callable[[], object]) -> str:
    """The one sentence with which a layer is refused."""
    with pytest.raises(LayerError) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text
