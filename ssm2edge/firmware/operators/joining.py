"""Several values in one."""

from __future__ import annotations

import numpy as np

from ssm2edge.firmware.errors import FirmwareError
from ssm2edge.firmware.graph import Operation
from ssm2edge.firmware.lowering import Lowering
from ssm2edge.firmware.views import View


def concat(operation: Operation, lowering: Lowering) -> None:
    """Put values one after the other along an axis."""
    output = operation.outputs[0]
    axis, start = operation.integer("axis", 0) % len(output.shape), 0
    target = lowering.scratch(output)
    for tensor in operation.inputs:
        view = lowering.view(tensor)
        if view.count:
            lowering.copy(view, target.sliced(axis, start, 1, view.shape[axis]))
        start += view.shape[axis]
    lowering.bind(output, target)


def pad(operation: Operation, lowering: Lowering) -> None:
    """Put a constant around a value."""
    mode = operation.attributes.get("mode", b"constant")
    if mode != b"constant":
        raise FirmwareError(operation.refusal(f"pads in the mode {mode.decode()}"))
    source, output = lowering.view(operation.inputs[0]), operation.outputs[0]
    pads, axes = operation.fixed(1) or [], operation.fixed(3) or list(range(len(output.shape)))
    given = operation.inputs[2] if len(operation.inputs) > 2 else None
    blank = lowering.constant(np.zeros((), output.dtype), "zero") if given is None else lowering.view(given)
    target, inner = lowering.scratch(output), source
    for axis, before, after in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
        axis %= len(output.shape)
        if before < 0 or after < 0:
            cut = source.shape[axis] + min(before, 0) + min(after, 0)
            inner = inner.sliced(axis, max(0, -before), 1, cut)
    place = target
    for axis, before in zip(axes, pads[: len(axes)], strict=False):
        place = place.sliced(axis % len(output.shape), max(0, before), 1, inner.shape[axis % len(output.shape)])
    # Borders, one axis after another: each as long as the output along the axes before it, as the inside along those behind.
    box = target
    for axis in range(len(output.shape)):
        first, size = _span(place, target, axis)
        for start, stop in ((0, first), (first + size, output.shape[axis])):
            if stop > start:
                border = box.sliced(axis, start, 1, stop - start)
                lowering.copy(View(blank.buffer, (1,) * len(output.shape), (0,) * len(output.shape)), border)
        box = box.sliced(axis, first, 1, size)
    lowering.copy(inner, place)
    lowering.bind(output, target)


def tile(operation: Operation, lowering: Lowering) -> None:
    """Repeat a value along its axes."""
    source, output = lowering.view(operation.inputs[0]), operation.outputs[0]
    target = lowering.scratch(output)
    repeats = operation.fixed(1) or []
    for index in np.ndindex(*repeats):
        part = target
        for axis, turn in enumerate(index):
            part = part.sliced(axis, turn * source.shape[axis], 1, source.shape[axis])
        lowering.copy(source, part)
    lowering.bind(output, target)


def _span(part: View, whole: View, axis: int) -> tuple[int, int]:
    """Return where a box within a whole array begins along an axis, and its size."""
    offset = part.offset
    for other in range(axis):
        offset %= whole.strides[other]
    return offset // whole.strides[axis], part.shape[axis]
