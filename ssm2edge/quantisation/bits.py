"""Bits of each weight, by the precision that was asked for."""

from __future__ import annotations

from collections.abc import Iterable

PRECISIONS = ("float32", "int8", "int4", "auto")


def bits_of(weights: Iterable[str], precision: str) -> dict[str, int]:
    """Return the bits of each weight where nothing is known of its outputs; none of them in float32."""
    count = {"int8": 8, "int4": 4, "auto": 8}.get(precision)
    return {} if count is None else dict.fromkeys(weights, count)
