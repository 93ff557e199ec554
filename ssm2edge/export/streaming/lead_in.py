"""Samples of a value that are known before the model's first sample, such as zeros of padding and what layers make of them."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, fx

from ssm2edge.export.program import TracedModel
from ssm2edge.export.streaming.held import held_tensors
from ssm2edge.export.streaming.timeline import Timeline

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
        self._run((int(wanted) // frame + 2) * frame)
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
        inputs = ([self._input(entry, scale, generator) for entry in self._traced.inputs] for scale in (0, 1))
        self._values = tuple(self._interpret(values) for values in inputs)

    def _input(self, entry: Any, scale: int, generator: torch.Generator) -> Tensor:
        shape = list(entry.example.shape)
        shape[0], shape[entry.time_axis] = BATCH, self._length
        if not entry.example.dtype.is_floating_point:
            return torch.zeros(shape, dtype=entry.example.dtype)
        return scale * torch.randn(shape, generator=generator, dtype=entry.example.dtype)

    def _interpret(self, inputs: list[Tensor]) -> dict[fx.Node, Any]:
        program = self._traced.program
        held = held_tensors(program)
        remaining = iter(inputs)
        values: dict[fx.Node, Any] = {}
        with torch.no_grad():
            for node in program.graph.nodes:
                if node.op == "placeholder":
                    values[node] = held[node.name] if node.name in held else next(remaining)
                elif node.op == "call_function":
                    args, kwargs = fx.map_arg((node.args, node.kwargs), lambda argument: values[argument])
                    values[node] = node.target(*args, **kwargs)
        return values
