"""The traced model run on noise and on zeros, for properties that the program alone does not show."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from ssm2edge.traced.errors import StreamingError
from ssm2edge.traced.inputs import noise
from ssm2edge.traced.program import TracedModel
from ssm2edge.traced.running import run_program

BATCH = 2


class Trial:
    """Runs the model when it is asked for values, and keeps them."""

    def __init__(self, traced: TracedModel) -> None:
        self._traced = traced
        self._length = 0
        self._values: tuple[dict[fx.Node, Any], ...] = ()

    def values(self, samples: int, frame: int) -> tuple[dict[fx.Node, Any], ...]:
        """Return the values of all nodes on ``BATCH`` sequences of noise, and of zeros, of at least so many samples."""
        least = max(self._traced.shortest, samples)
        length = (least // frame + 2) * frame
        if self._traced.longest is not None and length > self._traced.longest:
            length = self._traced.longest // frame * frame
            if length < least:
                raise StreamingError(
                    f"The model cannot stream: its longest sequences, of {self._traced.longest} samples, are too short to "
                    "try its operations on parts of them; only the whole-sequence graph can be built from it."
                )
        if length > self._length:
            self._length = length
            generator = torch.Generator().manual_seed(0)
            inputs = [noise(entry, BATCH, length, generator) for entry in self._traced.inputs]
            others = [
                u if entry.time_axis is None else torch.zeros_like(u)
                for entry, u in zip(self._traced.inputs, inputs, strict=True)
            ]
            self._values = tuple(run_program(self._traced.program, x) for x in (inputs, others))
        return self._values
