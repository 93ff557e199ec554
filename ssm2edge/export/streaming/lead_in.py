"""Samples of a value that are known before the model's first sample, such as zeros of padding and what layers make of them."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, fx

from ssm2edge.export.streaming.timeline import Timeline
from ssm2edge.traced.inputs import noise
from ssm2edge.traced.program import TracedModel
from ssm2edge.traced.running import run_program

BATCH = 2


class LeadIn:
    """Finds them by running the traced model on two different inputs: what is known beforehand is the same in both."""

    def __init__(self, traced: TracedModel) -> None:
        self._traced = traced
        self._length = 0
        self._values: tuple[dict[fx.Node, Any], ...] = ()

    def samples(self, node: fx.Node, line: Timeline, start: int, stop: int, frame: int) -> Tensor | None:
        """Samples ``start`` to ``stop`` of a node's value, ``(1, ...)``, zeros for negative numbers; None if they vary."""
        wanted = Fraction(stop - min(line.offset, 0) + 1) / line.rate
        least = max(self._traced.shortest, int(wanted))
        self._run((least // frame + 2) * frame)
        found = []
        for values in self._values:
            known = values[node].narrow(line.axis, max(0, start), stop - max(0, start))
            missing = torch.zeros_like(known.narrow(line.axis, 0, 1)).repeat_interleave(max(0, -start), line.axis)
            found.append(torch.cat((missing, known), line.axis))
        first = found[0][:1]
        same = all(torch.equal(x, first.expand_as(x)) for x in found)
        return first if same else None

    def _run(self, length: int) -> None:
        if length <= self._length:
            return
        self._length = length
        generator = torch.Generator().manual_seed(0)
        inputs = [noise(entry, BATCH, length, generator) for entry in self._traced.inputs]
        others = [
            u if entry.time_axis is None else torch.zeros_like(u) for entry, u in zip(self._traced.inputs, inputs, strict=True)
        ]
        self._values = tuple(run_program(self._traced.program, x) for x in (inputs, others))
