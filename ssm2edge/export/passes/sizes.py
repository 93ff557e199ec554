"""Sizes of values, as the exporter noted them."""

from __future__ import annotations

import onnx_ir as ir

Sizes = list[int | str]
"""Numbers, and symbols by their names; an empty name where nothing is known."""


def sizes_of(value: ir.Value | None) -> Sizes | None:
    """Return the sizes of a value; None where not even their number is known."""
    shape = None if value is None else value.shape
    return None if shape is None else [size if isinstance(size, int) else size.value or "" for size in shape]


def constant_sizes(value: ir.Value | None) -> list[int] | None:
    """Return the sizes of a stored constant; None for other values."""
    if value is None or not value.is_initializer():
        return None
    return [size for size in sizes_of(value) or () if isinstance(size, int)]
