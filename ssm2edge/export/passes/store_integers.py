"""Store constants that are small integers times steps as such, and numbers that float16 holds as float16.

Nodes that no input reaches turn them back into float32, ``Cast`` and ``Mul``: runtimes compute these once, when they load the
graph.  ``DequantizeLinear`` would be one node in their place, but onnxruntime does not fold it; it joins it to the product behind
it, which then takes longer than one of float32 and rounds otherwise.  Opset 18 has no integers of 3 and 4 bits: two of 4 bits
share a byte, and of 3 bits the upper ones of eight and the two lower ones of four.  Where their number is odd, each takes a byte.

Ensures
    the same values to the last bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ssm2edge.lowering.building import Builder
from ssm2edge.quantisation.grid import MOST, Grid, fits_half, grid_of

SMALLEST = 32
"""Numbers of a constant below which nodes and names take more than is saved."""

SHARING = {3: 8, 4: 2, 8: 1}
"""Number of integers that are packed together, by bits."""

UNPACKING = 400
"""Bytes of the nodes by which integers of 3 bits take more than those of 4: a small matrix has 4."""

SCALE, INTEGERS, HALF = ".scale", ".integers", ".half"
LOWER, UPPER = ".integers.lower", ".integers.upper"
"""Endings of the names of what is stored, behind the constant's own; the last two for integers of 3 bits."""


def store_integers(graph: ir.Graph) -> None:
    """Rewrite the constants of a graph in place."""
    op = Builder()
    for name, value in list(graph.initializers.items()):
        numbers = numbers_of(value)
        if numbers is None or not value.uses():
            continue
        grid = _best(numbers)
        if grid is not None:
            expanded = _expanded(op, graph, name, numbers.shape, *grid)
        elif fits_half(numbers):
            expanded = op.as_float(stored(graph, name + HALF, numbers.astype(np.float16)))
        else:
            continue
        del graph.initializers[name]
        value.name, expanded.name = None, name
        value.replace_all_uses_with(expanded)
    if op.nodes:
        graph.insert_before(graph[0], op.nodes)


def numbers_of(value: ir.Value) -> NDArray[np.float32] | None:
    """Return the numbers of a float32 constant that is not too small to be stored otherwise; None of others."""
    constant = value.const_value
    if constant is None or constant.dtype != ir.DataType.FLOAT or constant.size < SMALLEST or value.is_graph_output():
        return None
    return constant.numpy()


def stored_bits(numbers: NDArray[np.float32]) -> int:
    """Return the bits in which each number of a matrix is stored: its integers', 16 or 32."""
    if numbers.size < SMALLEST:
        return 32
    found = _best(numbers)
    if found is None:
        return 16 if fits_half(numbers) else 32
    return found[0].bits if _shares(found[0]) else 8


def _best(numbers: NDArray[np.float32]) -> tuple[Grid, bool] | None:
    """Return the smallest form of a constant, and whether its rows are the columns of the matrix that it stores."""
    if numbers.ndim < 2:
        return None
    matrix = numbers.reshape(len(numbers), -1)
    found = [
        (grid, turned)
        for bits in MOST
        for turned in ((False, True) if numbers.ndim == 2 else (False,))
        if bits > 3 or matrix.size % SHARING[bits] == 0
        for grid in [grid_of(matrix.T if turned else matrix, bits)]
        if grid is not None
    ]
    smallest = min(found, key=lambda one: (_bytes(one[0]) + UNPACKING * (one[0].bits == 3), -one[0].bits), default=None)
    return None if smallest is None or _bytes(smallest[0]) >= 2 * numbers.size else smallest


def _shares(grid: Grid) -> bool:
    return grid.bits < 8 and grid.integers.size % SHARING[grid.bits] == 0


def _bytes(grid: Grid) -> int:
    """Return the bytes of integers and steps, with a byte for each integer that shares none."""
    return grid.bytes if _shares(grid) else grid.bytes + grid.integers.size - -(-grid.integers.size * grid.bits // 8)


def stored(graph: ir.Graph, name: str, values: NDArray[np.generic]) -> ir.Value:
    """Return a constant of a graph; one of that name is there already, or is made."""
    known = graph.initializers.get(name)
    if known is not None:
        return known
    value = ir.val(name, ir.DataType.from_numpy(values.dtype), ir.Shape(values.shape), const_value=ir.tensor(values, name=name))
    graph.register_initializer(value)
    return value


def _expanded(op: Builder, graph: ir.Graph, name: str, shape: tuple[int, ...], grid: Grid, turned: bool) -> ir.Value:
    """Build the constant from its integers and steps."""
    half = fits_half(grid.steps)
    kept = grid.steps.astype(np.float16 if half else np.float32)

    def scaled(integers: ir.Value, steps: NDArray[np.generic]) -> ir.Value:
        kept_steps = stored(graph, name + SCALE, steps)
        return op.Mul(integers, op.as_float(kept_steps) if half else kept_steps)

    if grid.bits == 8:
        integers = (grid.integers.T if turned else grid.integers).reshape(shape)
        steps = kept.T if turned else kept.reshape(-1, *(1 for _ in shape[1:]))
        return scaled(op.as_float(stored(graph, name + INTEGERS, np.ascontiguousarray(integers))), np.ascontiguousarray(steps))
    groups = grid.integers.reshape(-1, grid.group)
    if _shares(grid):
        above = (groups + MOST[grid.bits]).astype(np.uint8)
        if grid.bits == 4:
            counted = _unpacked(op, graph, name + INTEGERS, above, 4)
        else:
            upper = op.Mul(_unpacked(op, graph, name + UPPER, above >> 2, 1), op.numbers(4.0))
            counted = op.Add(_unpacked(op, graph, name + LOWER, above & 3, 2), upper)
        whole = op.Sub(counted, op.numbers(float(MOST[grid.bits])))
    else:
        whole = op.as_float(stored(graph, name + INTEGERS, groups))
    product = scaled(whole, kept.reshape(-1, 1))
    if not turned:
        return op.Reshape(product, op.integers(*shape))
    return op.transposed(op.Reshape(product, op.integers(*shape[::-1])))


def _unpacked(op: Builder, graph: ir.Graph, name: str, values: NDArray[np.integer[Any]], width: int) -> ir.Value:
    """Store numbers of ``width`` bits, several in a byte, the first in its lowest bits, and build them as float32."""
    places = np.arange(0, 8, width, dtype=np.uint8)
    packed = stored(graph, name, (values.reshape(-1, len(places)) << places).sum(1, keepdims=True, dtype=np.uint8))
    shifts, mask = (
        stored(graph, f"bits.{width}.places", places),
        stored(graph, f"bits.{width}.mask", np.array([(1 << width) - 1], np.uint8)),
    )
    parts = op.BitwiseAnd(op.BitShift(packed, shifts, direction="RIGHT"), mask)
    return op.as_float(op.Reshape(parts, op.integers(*values.shape)))
