"""Inputs of a model: where their time stands, and examples of any length."""

from __future__ import annotations

from collections.abc import Sequence
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
        Position of time in its shape; the batch is axis 0.  None for an input that is given once for the whole sequence.
    example
        Any tensor of the right dtype and trailing sizes; its batch and time sizes do not matter.
    rate
        Samples a second, where the user gives them.
    """

    name: str
    time_axis: int | None
    example: Tensor
    rate: int | None = None

    def described(self) -> dict[str, str | int | None]:
        """Return the entry of the input in a graph's metadata."""
        entry = {"name": self.name, "time_axis": self.time_axis, "batch_axis": 0}
        return entry if self.rate is None or self.time_axis is None else {**entry, "rate": self.rate}

    def resized(self, batch: int, length: int) -> tuple[int, ...]:
        """Return its shape for so many sequences of a length."""
        shape = list(self.example.shape)
        shape[0] = batch
        if self.time_axis is not None:
            shape[self.time_axis] = length
        return tuple(shape)


def noise(entry: InputAxes, batch: int, length: int, generator: torch.Generator) -> Tensor:
    """Return samples for an input: noise, or zeros where it takes whole numbers, such as tokens; what is given once stays."""
    shape = entry.resized(batch, length)
    if entry.example.dtype == torch.bool:
        return torch.rand(shape, generator=generator) < 0.5
    if not entry.example.dtype.is_floating_point:
        return torch.zeros(shape, dtype=entry.example.dtype) if entry.time_axis is not None else repeated(entry, batch, length)
    return torch.randn(shape, generator=generator, dtype=entry.example.dtype)


def repeated(entry: InputAxes, batch: int, length: int) -> Tensor:
    """Return the example of an input without time for every sequence."""
    return beginning(entry.example[:1].expand(entry.resized(batch, length)).clone(), None, length)


def beginning(value: Tensor, time_axis: int | None, length: int) -> Tensor:
    """Return the first samples of an input; whole numbers that are given once may be lengths, and are then no longer."""
    if time_axis is not None:
        return value.narrow(time_axis, 0, length)
    return value.clamp(max=length) if value.ndim == 1 and value.dtype == torch.int64 else value


def time_of(inputs: Sequence[InputAxes]) -> tuple[int, int]:
    """Return the place of the first input that runs along time, and its time axis."""
    return next((place, entry.time_axis) for place, entry in enumerate(inputs) if entry.time_axis is not None)
