"""Products of matrices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ssm2edge.firmware.errors import FirmwareError
from ssm2edge.firmware.graph import Operation, Tensor
from ssm2edge.firmware.language import c_literal
from ssm2edge.firmware.lowering import Lowering
from ssm2edge.firmware.operators.integer_weights import Weights, weights_of
from ssm2edge.firmware.views import View


def matmul(operation: Operation, lowering: Lowering) -> None:
    """Multiply matrices, or stacks of them; a row of ones sums."""
    left, right = operation.inputs
    assert left is not None
    assert right is not None
    ones = left.constant is not None and left.dtype.kind == "f" and np.all(left.constant == 1)
    if ones and len(left.shape) == 2 and left.shape[0] == 1 and len(right.shape) >= 2:
        _column_sums(operation, lowering)
        return
    rows = left.shape[-2] if len(left.shape) > 1 else 1
    columns = right.shape[-1] if len(right.shape) > 1 else 1
    inner, stack = left.shape[-1], operation.outputs[0].shape[: max(len(left.shape), len(right.shape), 2) - 2]
    if len(right.shape) == 1 or len(left.shape) == 1:
        stack = ()
    if right.constant is not None and right.dtype == np.float32 and len(right.shape) >= 2:
        _constant_product(operation, lowering, right.constant, None, stack, rows)
        return
    a, b = _stacked(lowering, left, stack, (rows, inner)), _stacked(lowering, right, stack, (inner, columns))
    target = lowering.scratch(operation.outputs[0])
    _plain_product(lowering, a, b, target, (int(np.prod(stack)), rows, inner, columns))
    lowering.bind(operation.outputs[0], target)


def gemm(operation: Operation, lowering: Lowering) -> None:
    """Multiply matrices, either of which may be transposed, and add a third."""
    left, right = operation.inputs[:2]
    given = operation.inputs[2] if len(operation.inputs) > 2 else None
    alpha, beta = operation.number("alpha", 1.0), operation.number("beta", 1.0)
    assert right is not None
    if operation.integer("transA", 0):
        raise FirmwareError(operation.refusal("multiplies the transpose of what comes in"))
    if right.constant is None or right.dtype != np.float32 or beta != 1.0:
        raise FirmwareError(operation.refusal("multiplies by a matrix that is no constant of float32, or scales what it adds"))
    matrix = right.constant.T if operation.integer("transB", 0) else right.constant
    if alpha != 1.0:
        matrix = (matrix * alpha).astype(np.float32)
    assert left is not None
    _constant_product(operation, lowering, np.ascontiguousarray(matrix), given, (), left.shape[0])


def _constant_product(
    operation: Operation,
    lowering: Lowering,
    matrix: NDArray[np.generic],
    added: Tensor | None,
    stack: Sequence[int],
    rows: int,
) -> None:
    """Emit a product by constant matrices, ``[inner, columns]`` or one for each of a stack."""
    output, (inner, columns) = operation.outputs[0], matrix.shape[-2:]
    one = matrix.ndim == 2 or all(size == 1 for size in matrix.shape[:-2])
    whole = matrix.reshape(inner, columns) if one else np.broadcast_to(matrix, (*stack, inner, columns))
    name = f"{operation.inputs[1].name}"  # type: ignore[union-attr]
    stacked = Weights("product", () if one else (lowering.constant(np.ascontiguousarray(whole), name),))
    weights = weights_of(lowering, whole, name) if one else stacked
    left = operation.inputs[0]
    assert left is not None
    count = int(np.prod(stack)) if stack else 1
    source = (
        lowering.dense(left) if left.shape[:-2] == tuple(stack) or not stack else _stacked(lowering, left, stack, left.shape[-2:])
    )
    target = lowering.scratch(output)
    reads, step, bias = [source, *weights.reads], 0, None
    if weights.column is not None:
        reads.append(weights.column)
    if added is not None:
        bias = _row(operation, lowering, added, (rows, columns))
        reads.append(bias)
        step = columns if bias.count > columns else 0
    turns = count * rows
    done = columns if weights.column is None else columns - 1

    def text(pointers: Sequence[str]) -> list[str]:
        x, w, *rest, y = pointers
        b = "0" if bias is None else rest.pop()
        last = None if weights.column is None else rest.pop()
        steps = "".join(f", {name}" for name in rest)
        if turns > 1:
            w = w if one else f"{w} + i / {rows} * {inner * columns}"
            b = f"{b} + i * {step}" if step else b
            x, y = f"{x} + i * {inner}", f"{y} + i * {columns}"
        calls = [f"{weights.function}({x}, {w}{steps}, {b}, {y}, {inner}, {done}{weights.last});"]
        if last is not None:
            added_last = b if bias is None else f"{b} + {done}"
            calls.append(f"product({x}, {last}, {added_last}, {y} + {done}, {inner}, 1);")
        if turns == 1:
            return calls
        loop = f"for (int i = 0; i < {turns}; ++i)"
        return [loop, f"  {calls[0]}"] if last is None else [f"{loop} {{", *(f"  {call}" for call in calls), "}"]

    helpers = [weights.function] if weights.column is None else [weights.function, "product"]
    lowering.call(reads, [target], text, helpers, turns * inner * columns)
    lowering.bind(output, target)


def _row(operation: Operation, lowering: Lowering, added: Tensor, shape: tuple[int, int]) -> View:
    """Return what a product adds: one row for all, or one for each."""
    view = lowering.view(added)
    if int(np.prod(added.shape)) == shape[1] and added.shape[-1] == shape[1]:
        return lowering.dense(added)
    wide = view.broadcast(shape)
    target = View.whole(lowering.scratch(added, shape).buffer, shape)
    lowering.copy(wide, target)
    return target


def _column_sums(operation: Operation, lowering: Lowering) -> None:
    right, output = operation.inputs[1], operation.outputs[0]
    assert right is not None
    source, target = lowering.view(right), lowering.scratch(output)
    axis = len(right.shape) - 2
    strides = tuple(0 if place == axis else stride for place, stride in enumerate(target.strides))
    lowering.reduce(source, View(target.buffer, source.shape, strides), "{0}", "{0} + {1}", "0", "float")
    lowering.bind(output, target)


def _stacked(lowering: Lowering, tensor: Tensor, stack: Sequence[int], matrix: tuple[int, ...]) -> View:
    """Return a stack of matrices without gaps, repeated where it is one for several."""
    view = lowering.view(tensor)
    if view.count == int(np.prod(stack)) * int(np.prod(matrix)):
        return lowering.dense(tensor)
    shape = (*stack, *matrix)
    target = lowering.scratch(tensor, shape)
    lowering.copy(view.broadcast(shape), target)
    return target


def _plain_product(lowering: Lowering, a: View, b: View, y: View, sizes: tuple[int, int, int, int]) -> None:
    count, rows, inner, columns = sizes
    kind = "float" if a.buffer.dtype == np.float32 else "double"
    zero = c_literal(a.buffer.dtype.type(0))

    def text(pointers: Sequence[str]) -> list[str]:
        x, w, out = pointers
        return [
            f"for (int n = 0; n < {count}; ++n)",
            f"  for (int i = 0; i < {rows}; ++i)",
            f"    for (int j = 0; j < {columns}; ++j) {{",
            f"      {kind} sum = {zero};",
            f"      for (int k = 0; k < {inner}; ++k)",
            f"        sum += {x}[(n * {rows} + i) * {inner} + k] * {w}[(n * {inner} + k) * {columns} + j];",
            f"      {out}[(n * {rows} + i) * {columns} + j] = sum;",
            "    }",
        ]

    lowering.call([a, b], [y], text, (), count * rows * inner * columns)
