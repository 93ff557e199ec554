"""Bits of each weight, by the precision that was asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ssm2edge.quantisation.grid import group_of
from ssm2edge.quantisation.weights import Weight

PRECISIONS = ("float32", "int8", "int4", "auto")


def bits_of(weights: Iterable[str], precision: str) -> dict[str, int]:
    """Return the bits of each weight where nothing is known of its outputs; none of them in float32."""
    count = {"int8": 8, "int4": 4, "auto": 8}.get(precision)
    return {} if count is None else dict.fromkeys(weights, count)


def bytes_by_precision(weights: Mapping[str, Weight]) -> dict[str, int]:
    """Return the bytes that weights take in each precision, steps of 16 bits with them."""
    counts = {"float32": 32, "int8": 8, "int4": 4}
    return {precision: sum(bytes_of(weight, bits) for weight in weights.values()) for precision, bits in counts.items()}


def bytes_of(weight: Weight, bits: int) -> int:
    """Return the bytes that a weight takes in so many bits, steps of 16 bits with them; 32 for float32."""
    rows, columns = len(weight.parameter), weight.parameter[0].numel()
    if bits == 32:
        return 4 * rows * columns
    return rows * columns * bits // 8 + 2 * rows * (columns // group_of(columns, bits))
