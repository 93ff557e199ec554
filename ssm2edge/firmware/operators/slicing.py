"""Parts along axes."""

from __future__ import annotations

from ssm2edge.firmware.graph import Operation
from ssm2edge.firmware.lowering import Lowering


def slice_(operation: Operation, lowering: Lowering) -> None:
    """Take every so many elements between two places."""
    view = lowering.view(operation.inputs[0])
    starts, ends = operation.fixed(1) or [], operation.fixed(2) or []
    axes = operation.fixed(3) or list(range(len(starts)))
    steps = operation.fixed(4) or [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        axis %= len(view.shape)
        taken = range(view.shape[axis])[start:end:step] if step > 0 else _backwards(view.shape[axis], start, end, step)
        view = view.sliced(axis, taken.start, step, len(taken))
    lowering.bind(operation.outputs[0], view)


def split(operation: Operation, lowering: Lowering) -> None:
    """Cut an axis into pieces."""
    view = lowering.view(operation.inputs[0])
    axis, start = operation.integer("axis", 0) % len(view.shape), 0
    for output in operation.outputs:
        size = output.shape[axis]
        lowering.bind(output, view.sliced(axis, start, 1, size))
        start += size


def _backwards(size: int, start: int, end: int, step: int) -> range:
    first = min(start + size if start < 0 else start, size - 1)
    last = max(end + size if end < 0 else end, -1)
    return range(first, last, step)
