"""Bits of each weight, by the precision that was asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ssm2edge.quantisation.grid import group_of
from ssm2edge.quantisation.weights import Weight

PRECISIONS = ("float32", "int8", "int4", "auto")

PLAIN = 32
"""Bits of a weight that stays as it is."""

NODES = {3: 1020, 4: 620, 8: 225, PLAIN: 0}
"""Bytes of the nodes and names that write integers out as float32, by bits: those of one weight in a whole-sequence graph."""


def bits_of(weights: Mapping[str, Weight], precision: str) -> dict[str, int]:
    """Return the bits of each weight where nothing is known of its outputs; none of those that stay float32."""
    if precision == "auto":
        return {name: 8 for name, weight in weights.items() if levels_of(weight, (8,))}
    count = {"int8": 8, "int4": 4}.get(precision)
    return {} if count is None else dict.fromkeys(weights, count)


def levels_of(weight: Weight, levels: Iterable[int]) -> tuple[int, ...]:
    """Return the numbers of bits, ascending, in which a weight takes less of a graph than in more bits, nodes included."""
    found: list[int] = []
    least = stored_bytes_of(weight, PLAIN)
    for bits in sorted(levels, reverse=True):
        size = stored_bytes_of(weight, bits)
        if size < least:
            found, least = [bits, *found], size
    return tuple(found)


def stored_bytes_of(weight: Weight, bits: int) -> int:
    """Return the bytes that a weight takes of a graph, with the nodes that write it out."""
    return bytes_of(weight, bits) + NODES[bits]


def bytes_by_precision(weights: Mapping[str, Weight]) -> dict[str, int]:
    """Return the bytes that weights take in each precision, steps of 16 bits with them."""
    counts = {"float32": 32, "int8": 8, "int4": 4}
    return {precision: sum(bytes_of(weight, bits) for weight in weights.values()) for precision, bits in counts.items()}


def bytes_of(weight: Weight, bits: int) -> int:
    """Return the bytes that a weight takes in so many bits, steps of 16 bits with them; 32 for float32."""
    rows, columns = len(weight.parameter), weight.parameter[0].numel()
    if bits == PLAIN:
        return 4 * rows * columns
    return rows * columns * bits // 8 + 2 * rows * (columns // group_of(columns, bits))
