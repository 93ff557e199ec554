"""Runs a streaming graph block by block; the memory of inputs, outputs and states is bound to the session once.

States and outputs are double-buffered: two bindings read from one side and write to the other, and take turns.  Nothing is copied
or allocated between blocks, and a block whose answers are not finite is undone by not taking the turn.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime

from ssm2edge.runtime.errors import EdgeError
from ssm2edge.runtime.finite import check_answers
from ssm2edge.runtime.graph import Graph
from ssm2edge.runtime.ports import Array

ALIGNMENT = 64
"""Bytes; arrays of one side begin at multiples of it."""


@dataclass(frozen=True, eq=False)
class Side:
    """One of the two buffers: states, and the outputs of the block that led to them.

    Attributes
    ----------
    states, outputs
        Arrays in the order of the signature.
    memory
        Their memory, one flat array for each type: one product shows whether all of its numbers are finite.
    """

    states: tuple[Array, ...]
    outputs: tuple[Array, ...]
    memory: tuple[Array, ...]

    @classmethod
    def of(cls, states: tuple[Array, ...], outputs: tuple[Array, ...]) -> Side:
        """Return a side with copies of states and outputs."""
        values = (*states, *outputs)
        kinds = dict.fromkeys(value.dtype for value in values)
        memory = {kind: np.zeros(sum(_padded(value) for value in values if value.dtype == kind), kind) for kind in kinds}
        starts, placed = dict.fromkeys(kinds, 0), []
        for value in values:
            start = starts[value.dtype]
            starts[value.dtype] += _padded(value)
            placed.append(memory[value.dtype][start : start + value.size].reshape(value.shape))
            placed[-1][...] = value
        return cls(tuple(placed[: len(states)]), tuple(placed[len(states) :]), tuple(memory.values()))


@dataclass(frozen=True, eq=False)
class Kept:
    """A copy of all that a block reads and writes, to go back to."""

    side: int
    memory: tuple[Array, ...]
    inputs: tuple[Array, ...]


class BoundBlock:
    """A streaming graph for a fixed batch, with its buffers.

    Attributes
    ----------
    inputs
        Buffers in the order of the signature; write them before `advance`.
    sides
        The two buffers of states and outputs.
    side
        Place of the one that holds the present states and outputs.
    checks
        Whether `advance` refuses answers and states that are not finite.

    Raises
    ------
    MemoryError
        If the buffers of such a batch do not fit into memory.
    """

    def __init__(self, graph: Graph, batch: int, checks: bool = True) -> None:
        signature = graph.signature
        self._session = graph.session
        self._path = graph.path
        try:
            self.inputs = tuple(
                np.zeros((batch, *(size for size in port.shape[1:] if isinstance(size, int))), port.dtype)
                for port in signature.inputs
            )
            self._initial = tuple(np.full((batch, *state.shape), state.initial, state.dtype) for state in signature.states)
        except ValueError as fault:  # so numpy refuses sizes that its integers cannot hold
            raise MemoryError(str(fault)) from fault
        self.sides = tuple(Side.of(self._initial, self._probe(graph)) for _ in range(2))
        self.side = 0
        self.checks = checks
        self._names = tuple(port.name for port in signature.outputs)
        self._checked = tuple(tuple(value for value in side.memory if checks and value.dtype.kind == "f") for side in self.sides)
        bindings = []
        for before, after in (self.sides, self.sides[::-1]):
            binding = graph.session.io_binding()
            for port, value in zip(signature.inputs, self.inputs, strict=True):
                binding.bind_ortvalue_input(port.name, _shared(value))
            for port, value in zip(signature.outputs, after.outputs, strict=True):
                binding.bind_ortvalue_output(port.name, _shared(value))
            for state, value, following in zip(signature.states, before.states, after.states, strict=True):
                binding.bind_ortvalue_input(state.input, _shared(value))
                binding.bind_ortvalue_output(state.output, _shared(following))
            bindings.append(binding)
        self._bindings = tuple(bindings)

    @property
    def states(self) -> tuple[Array, ...]:
        """The buffers of the states, to read or to write; valid until the next `advance`."""
        return self.sides[self.side].states

    @property
    def outputs(self) -> tuple[Array, ...]:
        """The buffers of the outputs after the last block; valid until the next `advance`."""
        return self.sides[self.side].outputs

    def advance(self) -> None:
        """Run the block in `inputs`, fill `outputs`, and advance the states.

        Raises
        ------
        EdgeError
            If onnxruntime cannot run the graph; outputs and states stay as they were.
        InputError
            If an output or a state is not finite afterwards; the same.
        """
        side = self.side
        try:
            self._session.run_with_iobinding(self._bindings[side])
        except Exception as fault:  # onnxruntime's exceptions share no base class of their own
            raise EdgeError(f"onnxruntime could not run {self._path}: {' '.join(str(fault).split())[:200]}") from fault
        following = 1 - side
        for memory in self._checked[following]:
            # A sum of squares that is too large for the type needs a second look; unlike `dot`, `vdot` does not warn of it.
            if not math.isfinite(np.vdot(memory, memory)):
                self._check(self.sides[following])
        self.side = following

    def keep(self) -> Kept:
        """Return a copy of states, outputs and inputs."""
        return Kept(self.side, _copies(self.sides[self.side].memory), _copies(self.inputs))

    def go_back(self, kept: Kept) -> None:
        """Put back what `keep` returned."""
        self.side = kept.side
        for values, copies in ((self.sides[kept.side].memory, kept.memory), (self.inputs, kept.inputs)):
            for value, copy in zip(values, copies, strict=True):
                value[...] = copy

    def reset(self, rows: Any = slice(None)) -> None:
        """Set the states of some rows to their initial values."""
        for value, initial in zip(self.states, self._initial, strict=True):
            value[rows] = initial[rows]

    def _check(self, side: Side) -> None:
        answers = dict(zip(self._names, side.outputs, strict=True))
        # A running maximum may start from an infinity, which is no fault.
        states = {
            f"state {place}": value
            for place, (value, initial) in enumerate(zip(side.states, self._initial, strict=True))
            if initial.dtype.kind == "f" and np.isfinite(initial).all()
        }
        check_answers({**answers, **states}, self.inputs)

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


def _padded(value: Array) -> int:
    """Return the elements that an array takes, with those up to the next one's place."""
    unit = max(1, ALIGNMENT // value.itemsize)
    return -(-value.size // unit) * unit


def _copies(values: Iterable[Array]) -> tuple[Array, ...]:
    return tuple(value.copy() for value in values)


def _shared(value: Array) -> onnxruntime.OrtValue:
    # On the CPU an OrtValue made from a contiguous array shares its memory.
    return onnxruntime.OrtValue.ortvalue_from_numpy(value)
