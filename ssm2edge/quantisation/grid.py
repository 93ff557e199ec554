"""Numbers that are small integers times steps, found by their values alone.

Rounded weights stay float32 tensors in PyTorch.  A step has eleven significant bits, so that it fits into float16 and every
product of a step and an integer is exact in float32: whoever writes the weights to a file finds integers and steps again, to the
last bit, without a word from whoever rounded them, and after any transposition or cut that keeps rows whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

SIGNIFICANT = 11
"""Bits of a step: those of float16."""

MOST = {3: 4, 4: 8, 8: 127}
"""Largest magnitude of an integer, by bits; of 4 bits there is -8, and no 8, of 3 bits -4, and no 4."""

GROUP, FEWEST = 32, 8
"""Neighbours that share a step in 3 and 4 bits, at most, and the fewest that do in a row that is cut."""


@dataclass(frozen=True, eq=False)
class Grid:
    """A matrix as integers times steps.

    Attributes
    ----------
    integers
        ``(rows, columns)`` int8.
    steps
        ``(rows, groups)`` float32: one for each row, or for each group of neighbours in a row.
    bits
        3, 4 or 8.
    """

    integers: Array
    steps: Array
    bits: int

    @property
    def group(self) -> int:
        """Neighbours that share a step."""
        return int(self.integers.shape[1] // self.steps.shape[1])

    def numbers(self) -> Array:
        """Return the matrix, float32."""
        product: Array = self.integers.reshape(*self.steps.shape, -1).astype(np.float32) * self.steps[..., None]
        return product.reshape(self.integers.shape)

    @property
    def bytes(self) -> int:
        """Bytes of integers and steps as they are stored."""
        return -(-self.integers.size * self.bits // 8) + self.steps.size * (2 if fits_half(self.steps) else 4)


def group_of(columns: int, bits: int) -> int:
    """Return how many neighbours of a row share a step: all of them in 8 bits, in fewer the largest divisor up to ``GROUP``."""
    if bits == 8:
        return columns
    return next((size for size in range(min(GROUP, columns), FEWEST - 1, -1) if columns % size == 0), columns)


def fits_half(values: Array) -> bool:
    """Return True if float16 holds float32 values exactly."""
    with np.errstate(over="ignore"):
        return bool((values.astype(np.float16).astype(np.float32) == values).all())


def short(values: Array) -> Array:
    """Return where numbers have no more significant bits than steps have."""
    mantissa = np.frexp(values)[0] * 2.0**SIGNIFICANT
    found: Array = mantissa == np.round(mantissa)
    return found


def grid_of(matrix: Array, bits: int) -> Grid | None:
    """Return the integers and steps of a float32 matrix; None if one of its groups is no such product."""
    rows, columns = matrix.shape
    groups = matrix.astype(np.float64).reshape(-1, group_of(columns, bits))
    largest = np.abs(groups).max(axis=1)
    steps, integers = np.zeros(len(groups)), np.zeros(groups.shape, np.int8)
    left = np.flatnonzero(largest)
    signs = (1.0,) if bits == 8 else (1.0, -1.0)
    for most in range(1, MOST[bits] + 1):
        for sign in signs:
            step = sign * largest[left] / most
            counted = groups[left] / step[:, None]
            whole = np.round(counted)
            found = short(step) & (counted == whole).all(axis=1) & (whole.max(axis=1) <= min(MOST[bits], (1 << bits - 1) - 1))
            steps[left[found]], integers[left[found]] = step[found], whole[found].astype(np.int8)
            left = left[~found]
    if len(left):
        return None
    return Grid(integers.reshape(rows, columns), steps.reshape(rows, -1).astype(np.float32), bits)
