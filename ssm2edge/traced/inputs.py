"""Inputs of a model: where their time stands, and examples of any length."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class InputAxes:
    """One input of the model: its axes, and an example.

    Attributes
    ----------
    name
        Argument name in the model's forward.
    time_axis
        Position of time in its shape; the batch is axis 0.
    example
        Any tensor of the right dtype and trailing sizes; its batch and time sizes do not matter.
    """

    name: str
    time_axis: int
    example: Tensor


def noise(entry: InputAxes, batch: int, length: int, generator: torch.Generator) -> Tensor:
    """Samples for an input: noise, or zeros where it takes whole numbers, such as tokens."""
    shape = list(entry.example.shape)
    shape[0], shape[entry.time_axis] = batch, length
    if not entry.example.dtype.is_floating_point:
        return torch.zeros(shape, dtype=entry.example.dtype)
    return torch.randn(shape, generator=generator, dtype=entry.example.dtype)
