"""Normalisation of rows and of channels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ssm2edge.firmware.errors import FirmwareError
from ssm2edge.firmware.graph import Operation
from ssm2edge.firmware.language import c_literal
from ssm2edge.firmware.lowering import Lowering


def layer_norm(operation: Operation, lowering: Lowering) -> None:
    """Bring every row to mean zero and variance one, then scale and shift it."""
    source = operation.inputs[0]
    assert source is not None
    axis = operation.integer("axis", -1) % len(source.shape)
    width = int(np.prod(source.shape[axis:]))
    bias = operation.inputs[2] if len(operation.inputs) > 2 else None
    _rows(operation, lowering, width, 1, [operation.inputs[1], *([] if bias is None else [bias])])


def instance_norm(operation: Operation, lowering: Lowering) -> None:
    """Bring every channel to mean zero and variance one, then scale and shift it."""
    source = operation.inputs[0]
    assert source is not None
    if source.shape[0] != 1:
        raise FirmwareError(operation.refusal("takes several sequences at a time"))
    _rows(operation, lowering, int(np.prod(source.shape[2:])), 0, list(operation.inputs[1:3]))


def _rows(operation: Operation, lowering: Lowering, width: int, step: int, given: list[object]) -> None:
    source, output = lowering.dense(operation.inputs[0]), operation.outputs[0]
    if output.dtype != np.float32 or len(operation.outputs) > 1:
        raise FirmwareError(operation.refusal("takes others than float32, or has means and variances as outputs"))
    constants = [lowering.dense(tensor) for tensor in given]  # type: ignore[arg-type]
    target, rows = lowering.scratch(output), source.count // width
    epsilon = c_literal(np.float32(operation.number("epsilon", 1e-5)))

    def text(pointers: Sequence[str]) -> list[str]:
        x, scale, *rest, y = pointers
        shift = rest[0] if rest else "0"
        if rows == 1:
            return [f"normalise({x}, {scale}, {shift}, {y}, {width}, {step}, {epsilon});"]
        own = "" if step else " + i"
        tables = f"{scale}{own}, {shift}{own if rest else ''}"
        return [
            f"for (int i = 0; i < {rows}; ++i)",
            f"  normalise({x} + i * {width}, {tables}, {y} + i * {width}, {width}, {step}, {epsilon});",
        ]

    lowering.call([source, *constants], [target], text, ["normalise"], 3 * source.count)
    lowering.bind(output, target)


def batch_norm(operation: Operation, lowering: Lowering) -> None:
    """Scale and shift every channel by constants."""
    constants = [None if tensor is None else tensor.constant for tensor in operation.inputs[1:5]]
    if any(constant is None for constant in constants):
        raise FirmwareError(operation.refusal("has means or variances that change while it runs"))
    gain, shift, mean, variance = (_wide(constant) for constant in constants)
    scale = gain / np.sqrt(variance + operation.number("epsilon", 1e-5))
    shape = (len(scale), *(1,) * (len(operation.outputs[0].shape) - 2))
    name = operation.name
    views = [
        lowering.constant(value.reshape(shape).astype(np.float32), f"{name} {kind}")
        for kind, value in (("scale", scale), ("shift", shift - scale * mean))
    ]
    lowering.pointwise(operation, "{0} * {1} + {2}", (), [lowering.view(operation.inputs[0]), *views])


def _wide(constant: NDArray[np.generic] | None) -> NDArray[np.float64]:
    assert constant is not None
    return constant.astype(np.float64)
