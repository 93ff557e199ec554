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
    shapes = [(len(weight.parameter), weight.parameter[0].numel()) for weight in weights.values()]
    found = {"float32": 4 * sum(rows * columns for rows, columns in shapes)}
    for precision, bits in (("int8", 8), ("int4", 4)):
        found[precision] = sum(
            rows * (columns * bits // 8 + 2 * (columns // group_of(columns, bits))) for rows, columns in shapes
        )
    return found
