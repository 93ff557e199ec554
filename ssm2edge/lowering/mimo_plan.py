"""The plan of a lowering of one system of many inputs and outputs: its kernel form, and the samples in a chunk.

Candidates are compared by the cost model of :mod:`ssm2edge.lowering.costs`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from ssm2edge.lowering import costs
from ssm2edge.lowering.choice import Choice
from ssm2edge.lowering.forms import Cost, Groups, chunk_product, unrolled, walk, within_chunks
from ssm2edge.lowering.plan import TYPICAL_LENGTH

MimoForm = str
"""``recurrent`` or ``merged`` for one sample, or a name in ``MIMO_FORMS``."""

Feedthrough = Literal["full", "diagonal", "none"]
"""A matrix beside outputs that read the state before the sample; or a vector, or nothing, beside such that read it after."""

LONGEST_CHUNK = 32
GROUPS: Sequence[Groups] = ((), (4,), (8,), (12,), (4, 4), (8, 8), (4, 4, 4), (8, 8, 8))
"""Groups of chunks to choose from in whole sequences of any length."""


class Shaped(Protocol):
    """An array or tensor, as far as plans look at one."""

    @property
    def ndim(self) -> int: ...


def feedthrough_of(D: Shaped | None) -> Feedthrough:
    """Return what outputs read, from a feedthrough in real form (:class:`ssm2edge.systems.mimo_form.MimoSections`)."""
    return "none" if D is None else "diagonal" if D.ndim == 1 else "full"


@dataclass(frozen=True)
class MimoPlan:
    """The kernel form, chunk length and size of one system.

    Attributes
    ----------
    form
        ``recurrent`` is one sample, in one matrix product where outputs read the state before it; ``merged`` is that product
        where they read the state after it, with ``C A`` and ``C B + D`` for C and D; ``chunked`` computes the states of a chunk
        by one product, and runs a short recurrence over the chunks; ``unrolled`` does so within a long block.
    block
        Samples per chunk.
    inputs, order, outputs
        Size of the system, order in real states.
    squares
        Squared directions of the state; 0 for linear outputs.
    multiply_adds
        Per sample and batch row.
    nanoseconds
        Per sample, by the cost model; only comparisons mean something.
    feedthrough
        What the outputs read.
    parts
        Chunks of a long block.
    groups
        Chunks in a group, groups in a group of groups, and so on: what one step of the recurrence over the chunks covers.
    """

    form: MimoForm
    block: int
    inputs: int
    order: int
    outputs: int
    squares: int
    multiply_adds: float
    nanoseconds: float = 0.0
    feedthrough: Feedthrough = "full"
    parts: int = 1
    groups: Groups = ()

    @property
    def chunk(self) -> int:
        """Samples in a chunk."""
        return self.block // self.parts

    @property
    def after_sample(self) -> bool:
        """True if the linear outputs read the state after the sample."""
        return self.feedthrough != "full"

    @property
    def driven(self) -> int:
        """Width of what a chunk's product starts from: the inputs, or the states where these are fewer."""
        return min(self.inputs, self.order)

    def __str__(self) -> str:
        return f"{self.form}, blocks of {self.block}, {self.multiply_adds:.0f} multiply-adds a sample"


def plan_mimo_block(
    inputs: int, order: int, outputs: int, squares: int, block: int, choice: Choice | None = None,
    feedthrough: Feedthrough = "full",
) -> MimoPlan:  # fmt: skip
    """Return the plan for streaming blocks: what the user chose, or the cheaper of one product and its recurrence.

    Raises
    ------
    ValueError
        If the block is empty, or has no plan of the form that was chosen.
    """
    candidates = mimo_block_candidates(inputs, order, outputs, squares, block, feedthrough)
    if choice is None or block == 1:
        return candidates[0]
    allowed = [plan for plan in candidates if choice.allows(plan.form, plan.block)]
    if not allowed:
        raise ValueError(f"a block of {block} samples of one system cannot be computed as {choice.form}:{choice.block}.")
    return allowed[0]


def mimo_block_candidates(
    inputs: int, order: int, outputs: int, squares: int, block: int, feedthrough: Feedthrough = "full"
) -> Sequence[MimoPlan]:
    """Return plans for a block, the cheapest first.

    Raises
    ------
    ValueError
        If the block is empty.
    """
    if block < 1:
        raise ValueError(f"a block holds at least one sample, not {block}.")
    maps = _maps(inputs, order, outputs, squares, feedthrough)
    if block == 1:
        multiply_adds = maps + order * order
        nodes = 10 if feedthrough == "diagonal" else 8
        cost = nodes * costs.NODE + costs.READ * multiply_adds
        plans = [MimoPlan("recurrent", 1, inputs, order, outputs, squares, multiply_adds, cost, feedthrough)]
        if feedthrough != "full":
            multiply_adds = _maps(inputs, order, outputs, squares, "full") + order * order
            cost = 8 * costs.NODE + costs.READ * multiply_adds
            plans.append(MimoPlan("merged", 1, inputs, order, outputs, squares, multiply_adds, cost, feedthrough))
        return sorted(plans, key=lambda plan: plan.nanoseconds)
    one_chunk, shared = chunk_product(inputs, order, block), costs.MULTIPLY_ADD * maps
    ways = [(unrolled(inputs, order, block, parts, groups), parts, groups) for parts, groups in _parts(block)]
    many, parts, groups = min(ways, key=lambda way: way[0][1])
    forms: Sequence[tuple[MimoForm, Cost, int, Groups]] = (("chunked", one_chunk, 1, ()), ("unrolled", many, parts, groups))
    plans = [
        MimoPlan(form, block, inputs, order, outputs, squares, maps + adds, shared + time, feedthrough, parts, groups)
        for form, (adds, time), parts, groups in forms
    ]
    return sorted(plans, key=lambda plan: plan.nanoseconds)


def _parts(block: int) -> Iterator[tuple[int, Groups]]:
    """Yield the numbers of chunks that a block may be computed in, with groups of them; a prime block has single samples."""
    for parts in (count for count in range(2, block + 1) if block % count == 0):
        yield parts, ()
        yield from ((parts, (group,)) for group in range(2, parts + 1) if parts % group == 0)


def plan_mimo_sequence(
    inputs: int, order: int, outputs: int, squares: int, choice: Choice | None = None, feedthrough: Feedthrough = "full",
    length: int = TYPICAL_LENGTH,
) -> MimoPlan:  # fmt: skip
    """Return the plan for whole sequences of any length: what the user chose, or the cheapest chunks at ``length``."""
    if choice is not None and choice.sequence is not None:
        return _sequence(inputs, order, outputs, squares, choice.sequence, feedthrough, length)
    return mimo_sequence_candidates(inputs, order, outputs, squares, feedthrough, length)[0]


def mimo_sequence_candidates(
    inputs: int, order: int, outputs: int, squares: int, feedthrough: Feedthrough = "full", length: int = TYPICAL_LENGTH
) -> Sequence[MimoPlan]:
    """Return plans for whole sequences, the cheapest first: chunks that balance products within against steps over the chunks."""
    chunks = (2**i for i in range(1, LONGEST_CHUNK.bit_length()))
    plans = (_sequence(inputs, order, outputs, squares, chunk, feedthrough, length) for chunk in chunks)
    return sorted(plans, key=lambda plan: plan.nanoseconds)


def _sequence(inputs: int, order: int, outputs: int, squares: int, chunk: int, feedthrough: Feedthrough, length: int) -> MimoPlan:
    maps, within = _maps(inputs, order, outputs, squares, feedthrough), within_chunks(inputs, order, chunk)
    walks = {groups: walk(order, groups, _whole(length, chunk, groups)) for groups in GROUPS}
    groups = min(walks, key=lambda way: walks[way][1])
    multiply_adds, nanoseconds = walks[groups]
    passes = costs.NUMBER * (3.0 * order + outputs)
    cost = costs.MULTIPLY_ADD * (maps + within) + passes + nanoseconds / length
    total = maps + within + multiply_adds / length
    return MimoPlan("chunked", chunk, inputs, order, outputs, squares, total, cost, feedthrough, groups=groups)


def _whole(length: int, chunk: int, groups: Groups) -> int:
    """Return the chunks of whole groups that a sequence fills."""
    size = math.prod(groups)
    return -(-length // (chunk * size)) * size


def _maps(inputs: int, order: int, outputs: int, squares: int, feedthrough: Feedthrough) -> float:
    """Return the multiply-adds of the matrices in, out and through, and of the squares."""
    through = {"full": outputs * inputs, "diagonal": outputs, "none": 0}[feedthrough]
    return float(order * inputs + outputs * order + through + squares * (order + 1 + outputs))
