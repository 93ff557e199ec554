"""Constant matrices in flash: integers where the numbers are integers times steps, expanded in the loop; else float32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ssm2edge.firmware.lowering import Lowering
from ssm2edge.firmware.views import View
from ssm2edge.quantisation.grid import Array, Grid, grid_of

FEWEST = 64
"""Numbers of the smallest matrix that is stored as integers."""


@dataclass(frozen=True)
class Weights:
    """A matrix ``[inner, columns]`` in flash, and the function that multiplies by it.

    Attributes
    ----------
    function
        Name of the C function.
    reads
        What it reads: the numbers, and their steps if they are integers.
    last
        Its last arguments, behind the sizes.
    column
        The last column, float32, which the function leaves out; None if it leaves none: integers of 4 bits are pairs of columns.
    """

    function: str
    reads: tuple[View, ...]
    last: str = ""
    column: View | None = None


def weights_of(lowering: Lowering, matrix: Array, name: str) -> Weights:
    """Store a matrix."""
    inner, columns = matrix.shape
    grids = [grid for bits in (4, 8) if (grid := _grid(matrix, bits)) is not None]
    beside = 4 * inner * (columns % 2)
    grid = min(grids, key=lambda one: one.bytes + beside * (one.bits == 4), default=None)
    if grid is None:
        return Weights("product", (lowering.constant(np.ascontiguousarray(matrix), name),))
    if grid.bits == 8:
        steps = lowering.constant(np.ascontiguousarray(grid.steps.T), f"{name}.steps")
        return Weights("product8", (lowering.constant(np.ascontiguousarray(grid.integers.T), name), steps))
    even = columns - columns % 2
    pairs = (np.ascontiguousarray(grid.integers[:even].T).reshape(inner, even // 2, 2) + 8).astype(np.uint8)
    steps = lowering.constant(np.ascontiguousarray(grid.steps[:even].T), f"{name}.steps")
    column = lowering.constant(np.ascontiguousarray(matrix[:, even:]), f"{name}.column") if even < columns else None
    reads = (lowering.constant(pairs[..., 0] | pairs[..., 1] << 4, name), steps)
    return Weights("product4", reads, f", {grid.group}", column)


@dataclass(frozen=True)
class Rows:
    """A table in flash whose rows are read.

    Attributes
    ----------
    reads
        Integers and steps.
    bits
        4 or 8.
    group
        Neighbours of a row that share a step.
    """

    reads: tuple[View, View]
    bits: int
    group: int

    def value(self, names: Sequence[str], at: str) -> str:
        """Return the number at a place of the table, in C."""
        integers, steps = names
        whole = f"{integers}[{at}]" if self.bits == 8 else f"(({integers}[({at}) / 2] >> (({at}) % 2 * 4) & 15) - 8)"
        return f"(float){whole} * {steps}[({at}) / {self.group}]"


def rows_of(lowering: Lowering, table: Array, name: str) -> Rows | None:
    """Store a table of integers times steps; None if it is none."""
    if table.ndim < 2 or table.size < FEWEST:
        return None
    matrix = np.ascontiguousarray(table.reshape(-1, table.shape[-1]))
    grids = [grid for bits in (4, 8) if (grid := grid_of(matrix, bits)) is not None]
    grid = min(grids, key=lambda one: one.bytes, default=None)
    if grid is None:
        return None
    integers = grid.integers.ravel()
    if grid.bits == 4:
        pairs = (np.pad(integers, (0, integers.size % 2)).reshape(-1, 2) + 8).astype(np.uint8)
        integers = pairs[:, 0] | pairs[:, 1] << 4
    stored = lowering.constant(np.ascontiguousarray(integers), name)
    return Rows((stored, lowering.constant(grid.steps.ravel(), f"{name}.steps")), grid.bits, grid.group)


def _grid(matrix: Array, bits: int) -> Grid | None:
    if matrix.size < FEWEST or (bits == 4 and matrix.shape[1] == 1):
        return None
    return grid_of(np.ascontiguousarray(matrix.T), bits)
