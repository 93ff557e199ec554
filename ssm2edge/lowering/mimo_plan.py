"""The plan of a lowering of one system of many inputs and outputs: which kernel form, in chunks of how many samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MimoForm = Literal["recurrent", "unrolled", "chunked"]

LONGEST_CHUNK = 32

STEP_COST = 2.0**14
"""Multiply-adds that a step over the chunks costs in onnxruntime beside its own, as measured with orders of edge models."""

LARGEST_CHUNK_COST = 2.0**14
"""Multiply-adds a sample from which the recurrence of a block, node by node inside one ``RNN``, is faster than one product."""


@dataclass(frozen=True)
class MimoPlan:
    """How one system is computed.

    Attributes
    ----------
    form
        ``recurrent`` is one matrix product for one sample; ``chunked`` computes the states of a chunk by one product, and runs a
        short recurrence over the chunks; ``unrolled`` runs the dense recurrence of a long block in one node.
    block
        Samples per chunk.
    inputs, order, outputs
        Size of the system, order in real states.
    squares
        Squared directions of the state; 0 for linear outputs.
    multiply_adds
        Per sample and batch row.
    """

    form: MimoForm
    block: int
    inputs: int
    order: int
    outputs: int
    squares: int
    multiply_adds: float

    @property
    def driven(self) -> int:
        """Width of what a chunk's product starts from: the inputs, or the states where these are fewer."""
        return min(self.inputs, self.order)

    def __str__(self) -> str:
        return f"{self.form}, blocks of {self.block}, {self.multiply_adds:.0f} multiply-adds a sample"


def plan_mimo_block(inputs: int, order: int, outputs: int, squares: int, block: int) -> MimoPlan:
    """Plan for streaming blocks of ``block`` samples: one product, or its recurrence where that is less work."""
    if block < 1:
        raise ValueError(f"a block holds at least one sample, not {block}.")
    maps = _maps(inputs, order, outputs, squares)
    if block == 1:
        return MimoPlan("recurrent", 1, inputs, order, outputs, squares, maps + order * order)
    within = _within(inputs, order, block)
    if within > LARGEST_CHUNK_COST:
        return MimoPlan("unrolled", block, inputs, order, outputs, squares, maps + order * order)
    return MimoPlan("chunked", block, inputs, order, outputs, squares, maps + within)


def plan_mimo_sequence(inputs: int, order: int, outputs: int, squares: int) -> MimoPlan:
    """Plan for whole sequences of any length: the chunk length that balances products within against steps over the chunks."""
    candidates = [2**i for i in range(1, LONGEST_CHUNK.bit_length())]
    costs = {T: _within(inputs, order, T) + (order * order + STEP_COST) / T for T in candidates}
    block = min(costs, key=costs.__getitem__)
    cost = _maps(inputs, order, outputs, squares) + _within(inputs, order, block) + order * order / block
    return MimoPlan("chunked", block, inputs, order, outputs, squares, cost)


def _within(inputs: int, order: int, block: int) -> float:
    """Multiply-adds a sample of the products with a chunk's two matrices."""
    return (block + 1.0) * order * min(inputs, order) + (block + 1.0) * order * order / block


def _maps(inputs: int, order: int, outputs: int, squares: int) -> float:
    """Multiply-adds of the matrices in, out and through, and of the squares."""
    return float(order * inputs + outputs * (order + inputs) + squares * (order + 1 + outputs))
