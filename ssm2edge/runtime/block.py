"""Runs a streaming graph block by block; the memory of inputs, outputs and states is bound to the session once.

States are double-buffered: two bindings read from one buffer and write to the other, and take turns.  Nothing is copied or
allocated between blocks.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime

from ssm2edge.runtime.errors import EdgeError
from ssm2edge.runtime.graph import Graph
from ssm2edge.runtime.ports import Array


class BoundBlock:
    """A streaming graph for a fixed batch, with its buffers.

    Attributes
    ----------
    inputs, outputs
        Buffers in the order of the signature; write them before `advance`, read them after it.
    """

    def __init__(self, graph: Graph, batch: int) -> None:
        signature = graph.signature
        self._session = graph.session
        self._path = graph.path
        self.inputs = tuple(
            np.zeros((batch, *(size for size in port.shape[1:] if isinstance(size, int))), port.dtype)
            for port in signature.inputs
        )
        self._initial = tuple(np.full((batch, *state.shape), state.initial, state.dtype) for state in signature.states)
        self._sides: tuple[tuple[Array, ...], ...] = tuple(tuple(value.copy() for value in self._initial) for _ in range(2))
        self.outputs = self._probe(graph)
        bindings = []
        for before, after in (self._sides, self._sides[::-1]):
            binding = graph.session.io_binding()
            for port, value in zip(signature.inputs, self.inputs, strict=True):
                binding.bind_ortvalue_input(port.name, _shared(value))
            for port, value in zip(signature.outputs, self.outputs, strict=True):
                binding.bind_ortvalue_output(port.name, _shared(value))
            for index, state in enumerate(signature.states):
                binding.bind_ortvalue_input(state.input, _shared(before[index]))
                binding.bind_ortvalue_output(state.output, _shared(after[index]))
            bindings.append(binding)
        self._bindings = tuple(bindings)
        self._side = 0

    @property
    def states(self) -> tuple[Array, ...]:
        """The buffers of the states, to read or to write; valid until the next `advance`."""
        return self._sides[self._side]

    def advance(self) -> None:
        """Run the block in `inputs`, fill `outputs`, and advance the states.

        Raises
        ------
        EdgeError
            If onnxruntime cannot run the graph.
        """
        side = self._side
        try:
            self._session.run_with_iobinding(self._bindings[side])
        except Exception as fault:  # onnxruntime's exceptions share no base class of their own
            raise EdgeError(f"onnxruntime could not run {self._path}: {' '.join(str(fault).split())[:200]}") from fault
        self._side = 1 - side

    def reset(self, rows: Any = slice(None)) -> None:
        """Set the states of some rows to their initial values."""
        for value, initial in zip(self.states, self._initial, strict=True):
            value[rows] = initial[rows]

    def _probe(self, graph: Graph) -> tuple[Array, ...]:
        """Run once on zeros to learn the outputs' shapes, which shape inference does not always know."""
        signature = graph.signature
        feed = {port.name: value for port, value in zip(signature.inputs, self.inputs, strict=True)}
        feed |= {state.input: value for state, value in zip(signature.states, self._initial, strict=True)}
        names = [port.name for port in signature.outputs] + [state.output for state in signature.states]
        try:
            results = graph.session.run(names, feed)
        except Exception as fault:  # onnxruntime's exceptions share no base class of their own
            raise EdgeError(f"onnxruntime could not run {graph.path}: {' '.join(str(fault).split())[:200]}") from fault
        outputs, states = results[: len(signature.outputs)], results[len(signature.outputs) :]
        for state, value, initial in zip(signature.states, states, self._initial, strict=True):
            if value.shape != initial.shape:
                raise EdgeError(f"{graph.path} turns {state.input} of shape {initial.shape} into {value.shape}: build it again.")
        return tuple(np.zeros(value.shape, value.dtype) for value in outputs)


def _shared(value: Array) -> onnxruntime.OrtValue:
    # On the CPU an OrtValue made from a contiguous array shares its memory.
    return onnxruntime.OrtValue.ortvalue_from_numpy(value)
