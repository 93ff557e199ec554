"""The plan of a lowering: which kernel form, in blocks of how many samples.  Made once, printed, tested; emission follows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Form = Literal["recurrent", "chunked"]

SCAN_STEP_COST = 4e4
"""Multiply-adds that one step of a Scan costs in onnxruntime, whatever its width, as measured with edge models."""

STATE_COST = 75.0
"""Multiply-adds that the passes over the states of all chunks cost, per state and chunk: memory, not arithmetic."""

GROUP = 4
"""Chunks per step of a Scan: 0 to 4 % faster than 1 at a thousand samples, 5 % at 4,000, 6 to 12 % at 16,000."""


@dataclass(frozen=True)
class Plan:
    """How one bank is computed.

    Attributes
    ----------
    form
        ``recurrent`` is the elementwise update of one sample; ``chunked`` is a Toeplitz matrix product inside chunks of samples
        and a short recurrence over the chunks.
    block
        Samples per chunk.
    channels, order
        Size of the bank, order in real states per channel.
    multiply_adds
        Per sample and batch row.
    group
        Chunks that one step of the recurrence over a whole sequence covers.
    """

    form: Form
    block: int
    channels: int
    order: int
    multiply_adds: float
    group: int = 1

    def __str__(self) -> str:
        groups = f" in groups of {self.group}" if self.group > 1 else ""
        return f"{self.form}, blocks of {self.block}{groups}, {self.multiply_adds:.0f} multiply-adds a sample"


def plan_block(channels: int, order: int, block: int) -> Plan:
    """Plan for streaming blocks of ``block`` samples: the recurrence for one sample, one chunk for more."""
    if block < 1:
        raise ValueError(f"a block holds at least one sample, not {block}.")
    if block == 1:
        return Plan("recurrent", 1, channels, order, channels * (3.0 * order + 1))
    return Plan("chunked", block, channels, order, channels * (block + order) ** 2 / block)


def plan_sequence(channels: int, order: int) -> Plan:
    """Plan for whole sequences of any length: chunks that balance Toeplitz products against states and steps of the Scan."""
    candidates = (16, 24, 28, 32, 40, 48, 64, 96, 128)
    costs = {
        block: _chunked_cost(channels, order, block) + (STATE_COST * order * channels + SCAN_STEP_COST / GROUP) / block
        for block in candidates
    }
    block = min(costs, key=costs.__getitem__)
    return Plan("chunked", block, channels, order, _chunked_cost(channels, order, block), GROUP)


def _chunked_cost(channels: int, order: int, block: int) -> float:
    return channels * (block + 2.0 * order + 2.0 * order / block)
