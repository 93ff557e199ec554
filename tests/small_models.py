"""Models of one tiny S4D layer and whatever a test puts behind it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from models.digits.model import S4D
from ssm2edge.layers import exportable, find_layers, replace_layers
from ssm2edge.traced import InputAxes, TracedModel, trace

CHANNELS = 4


class Tail(nn.Module):
    """``(batch, 4, time)`` through one S4D layer and then through a function that may use the modules here."""

    def __init__(self, function: Callable[..., Any], states: int = 6) -> None:
        super().__init__()
        self.layer = S4D(CHANNELS, states)
        self.linear = nn.Linear(CHANNELS, CHANNELS)
        self.norm = nn.LayerNorm(CHANNELS)
        self.batch_norm = nn.BatchNorm1d(CHANNELS)
        self.mix = nn.Conv1d(CHANNELS, 6, 1)
        self.wide = nn.Conv1d(CHANNELS, CHANNELS, 3, padding=1)
        self.table = nn.Embedding(5, CHANNELS)
        self.lstm = nn.LSTM(CHANNELS, CHANNELS, batch_first=True)
        self.function = function

    def forward(self, u: Tensor) -> Any:
        return self.function(self, self.layer(u)[0])


def tail(function: Callable[..., Any]) -> Tail:
    """The same weights every time, in eval mode; the batch norm has seen other data than its initial statistics."""
    torch.manual_seed(0)
    model = Tail(function)
    with torch.no_grad():
        model.batch_norm.running_mean.add_(torch.randn(CHANNELS))  # type: ignore[union-attr]  # a tensor unless told otherwise
        model.batch_norm.running_var.mul_(torch.rand(CHANNELS) + 0.5)  # type: ignore[union-attr]  # as above
    return model.eval()


def replaced(model: nn.Module) -> nn.Module:
    """The model with its layers as full-order blocks, ready to trace."""
    return exportable(replace_layers(model, {layer.name: layer.system for layer in find_layers(model)}))


def traced(model: nn.Module, time_axis: int = 2, shape: tuple[int, ...] = (1, CHANNELS, 5)) -> TracedModel:
    """The traced form of a replaced model of one input."""
    return trace(replaced(model), [InputAxes("u", time_axis, torch.zeros(shape))])


def as_tuple(answer: Any) -> tuple[Tensor, ...]:
    """A model's outputs as a tuple."""
    return tuple(answer) if isinstance(answer, tuple | list) else (answer,)
