"""The plan of a lowering of one system of many inputs and outputs: which kernel form, in chunks of how many samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MimoForm = Literal["recurrent", "unrolled", "chunked"]

SHORTEST_CHUNK, LONGEST_CHUNK = 8, 32


@dataclass(frozen=True)
class MimoPlan:
    """How one system is computed.

    Attributes
    ----------
    form
        ``recurrent`` is one matrix product for one sample; ``unrolled`` runs the dense recurrence of a block in one node;
        ``chunked`` computes the states of every chunk by products with powers of the 2 x 2 sections, and a short recurrence over
        the chunks.
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

    def __str__(self) -> str:
        return f"{self.form}, blocks of {self.block}, {self.multiply_adds:.0f} multiply-adds a sample"


def plan_mimo_block(inputs: int, order: int, outputs: int, squares: int, block: int) -> MimoPlan:
    """Plan for streaming blocks of ``block`` samples: one product for one sample, the dense recurrence for more."""
    if block < 1:
        raise ValueError(f"a block holds at least one sample, not {block}.")
    cost = _maps(inputs, order, outputs, squares) + order * order
    return MimoPlan("recurrent" if block == 1 else "unrolled", block, inputs, order, outputs, squares, cost)


def plan_mimo_sequence(inputs: int, order: int, outputs: int, squares: int) -> MimoPlan:
    """Plan for whole sequences of any length: the chunk length that balances section products against steps over the chunks.

    A sample costs 2 T multiply-adds per state within its chunk and n^2 / T for its share of the dense step over the chunks, whose
    fixed cost is worth about 2^12 multiply-adds.
    """
    costs = {}
    block = SHORTEST_CHUNK
    while block <= LONGEST_CHUNK:
        costs[block] = 2.0 * order * (block + 1) + 2.0 * order + (order * order + 2.0**12) / block
        block *= 2
    block = min(costs, key=costs.__getitem__)
    within = 2.0 * order * (block + 1) + 2.0 * order + order * order / block
    return MimoPlan("chunked", block, inputs, order, outputs, squares, _maps(inputs, order, outputs, squares) + within)


def _maps(inputs: int, order: int, outputs: int, squares: int) -> float:
    """Multiply-adds of the matrices in, out and through, and of the squares."""
    return float(order * inputs + outputs * (order + inputs) + squares * (order + 1 + outputs))
