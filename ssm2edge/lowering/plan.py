"""The plan of a lowering of a bank: its kernel form, and the samples in a chunk.

Made once, printed, tested; emission follows it.  Candidates are compared by the cost model of :mod:`ssm2edge.lowering.costs`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ssm2edge.lowering import costs
from ssm2edge.lowering.choice import Choice
from ssm2edge.lowering.forms import BANK_FORMS

Form = str
"""``recurrent``, or a name in ``BANK_FORMS``."""

CHUNKS = (8, 12, 20, 24, 28, 36, 40, 44, 56, 72, 80, 88, 104, 120)
"""Chunk lengths to choose from: none that makes rows of a power of two, which onnxruntime transposes five times slower."""

TYPICAL_LENGTH = 2048
"""Samples of a whole sequence that chunk lengths are chosen for if nothing is known; the graph takes any length."""

GROUP = 4
"""Chunks per step of a Scan: 0 to 4 % faster than 1 at a thousand samples, 5 % at 4,000, 6 to 12 % at 16,000."""


@dataclass(frozen=True)
class Plan:
    """The kernel form, chunk length and size of one bank.

    Attributes
    ----------
    form
        ``recurrent`` is the elementwise update of one sample; ``elementwise`` computes a block of few samples by sums of
        elementwise products and a depthwise convolution; ``chunked`` is a Toeplitz matrix product inside chunks of samples and a
        short recurrence over the chunks.
    block
        Samples per chunk; a longer block is computed chunk by chunk.
    channels, order
        Size of the bank, order in real states per channel.
    multiply_adds
        Per sample and batch row.
    group
        Chunks that one step of the recurrence over a whole sequence covers.
    nanoseconds
        Per sample, by the cost model; only comparisons mean something.
    """

    form: Form
    block: int
    channels: int
    order: int
    multiply_adds: float
    group: int = 1
    nanoseconds: float = 0.0

    def __str__(self) -> str:
        groups = f" in groups of {self.group}" if self.group > 1 else ""
        return f"{self.form}, blocks of {self.block}{groups}, {self.multiply_adds:.0f} multiply-adds a sample"


def plan_block(channels: int, order: int, block: int, choice: Choice | None = None) -> Plan:
    """Return the plan for streaming blocks of ``block`` samples: what the user chose, or the cheapest candidate.

    Raises
    ------
    ValueError
        If the block is empty, or has no plan of the form that was chosen.
    """
    candidates = block_candidates(channels, order, block)
    if choice is None or block == 1:
        return candidates[0]
    allowed = [plan for plan in candidates if choice.allows(plan.form, plan.block)]
    if not allowed:
        raise ValueError(f"a block of {block} samples of a bank cannot be computed as {choice.form}:{choice.block}.")
    return allowed[0]


def block_candidates(channels: int, order: int, block: int) -> Sequence[Plan]:
    """Return plans for a block, the cheapest first: the recurrence for one sample; for more, equal chunks of either form.

    Raises
    ------
    ValueError
        If the block is empty.
    """
    if block < 1:
        raise ValueError(f"a block holds at least one sample, not {block}.")
    if block == 1:
        nanoseconds = 15 * costs.NODE + 7 * order * channels * costs.NUMBER
        return [Plan("recurrent", 1, channels, order, channels * (3.0 * order + 1), nanoseconds=nanoseconds)]
    found = []
    for chunk in (block // parts for parts in range(1, block // 2 + 1) if block % parts == 0):
        for form, cost_of in BANK_FORMS.items():
            multiply_adds, nanoseconds = cost_of(channels, order, chunk)
            found.append(Plan(form, chunk, channels, order, multiply_adds, nanoseconds=nanoseconds))
    return sorted(found, key=lambda plan: plan.nanoseconds)


def plan_sequence(channels: int, order: int, choice: Choice | None = None, length: int = TYPICAL_LENGTH) -> Plan:
    """Return the plan for whole sequences of any length: what the user chose, or the cheapest chunks at ``length``."""
    if choice is not None and choice.sequence is not None:
        return _sequence(channels, order, choice.sequence, length)
    return sequence_candidates(channels, order, length)[0]


def sequence_candidates(channels: int, order: int, length: int = TYPICAL_LENGTH) -> Sequence[Plan]:
    """Return plans for whole sequences, the cheapest at ``length`` first: chunks balance products within and states between."""
    return sorted((_sequence(channels, order, chunk, length) for chunk in CHUNKS), key=lambda plan: plan.nanoseconds)


def _sequence(channels: int, order: int, chunk: int, length: int) -> Plan:
    chunks = -(-length // chunk)
    within = (chunk + order) * costs.in_lanes(chunk) + chunk * costs.in_lanes(order)
    matrices = (chunk + order) * chunk + chunk * order
    states = order * costs.SEQUENCE_STATE + chunk * costs.SEQUENCE_SAMPLE
    multiplied = channels * chunks * (within * costs.SEQUENCE_MULTIPLY_ADD + states)
    total = costs.SEQUENCE + multiplied + channels * matrices * costs.SEQUENCE_READ
    multiply_adds = channels * (chunk + 2.0 * order + 2.0 * order / chunk)
    return Plan("chunked", chunk, channels, order, multiply_adds, GROUP, total / length)
