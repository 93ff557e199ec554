"""Rewrite: results for several layers at once are computed layer by layer again.

For onnxruntime, where a node costs more than its arithmetic, the states of layers of one size are put together, moved on in a few
nodes, and taken apart (`ssm2edge.export.passes.join_states`).  In C a node costs nothing, but the joined states would need memory
of their own, and could not be overwritten.

Requires
    nodes in an order in which they can run.
Ensures
    the same numbers; where a value that was put together is taken apart at the same places, each part goes its own way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ssm2edge.firmware.graph import Operation, Tensor
from ssm2edge.firmware.operators import elementwise


@dataclass(frozen=True)
class _Parts:
    """A value as parts along an axis."""

    axis: int
    tensors: tuple[Tensor, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(tensor.shape[self.axis] for tensor in self.tensors)


def distribute(operations: Sequence[Operation], wanted: Sequence[Tensor]) -> tuple[Operation, ...]:
    """Return operations that give the same values of ``wanted``, without those that nothing needs."""
    parts: dict[Tensor, _Parts] = {}
    found: list[Operation] = []
    for operation in operations:
        taken = _taken_apart(operation, parts)
        found += taken or [operation]
        if not taken:
            found += _by_parts(operation, parts)
    return _needed(found, wanted)


def _taken_apart(operation: Operation, parts: Mapping[Tensor, _Parts]) -> list[Operation]:
    """Return what gives the outputs of a node that takes a value apart where it was put together; nothing of others."""
    source = operation.inputs[0] if operation.inputs else None
    known = parts.get(source) if source is not None else None
    if operation.kind != "Split" or known is None or source is None:
        return []
    axis = operation.integer("axis", 0) % len(source.shape)
    if axis != known.axis or tuple(output.shape[axis] for output in operation.outputs) != known.sizes:
        return []
    return [
        Operation("Identity", f"{operation.name}.{place}", (part,), (output,), {}, operation.line)
        for place, (part, output) in enumerate(zip(known.tensors, operation.outputs, strict=True))
    ]


def _by_parts(operation: Operation, parts: dict[Tensor, _Parts]) -> list[Operation]:
    """Note the parts of a node's output, and return the nodes that compute them."""
    output = operation.outputs[0]
    if operation.kind == "Concat":
        tensors = tuple(tensor for tensor in operation.inputs if tensor is not None)
        if all(tensor.constant is None for tensor in tensors):
            parts[output] = _Parts(operation.integer("axis", 0) % len(output.shape), tensors)
        return []
    known = [parts[tensor] for tensor in operation.inputs if tensor in parts]
    rule = _RULES.get(operation.kind, _pointwise if operation.kind in elementwise.EMITTERS else None)
    if not known or rule is None or len(operation.outputs) != 1:
        return []
    found = rule(operation, known, parts)
    if found is None:
        return []
    axis, inputs = found
    made, tensors_made = [], []
    for place, (given, size) in enumerate(zip(inputs, known[0].sizes, strict=True)):
        shape = (*output.shape[:axis], size, *output.shape[axis + 1 :])
        part = Tensor(f"{output.name}.{place}", shape, output.dtype)
        made.append(replace(operation, name=f"{operation.name}.{place}", inputs=given, outputs=(part,)))
        tensors_made.append(part)
    parts[output] = _Parts(axis, tuple(tensors_made))
    return made


Found = tuple[int, list[tuple[Tensor | None, ...]]]
"""Axis of the output's parts, and the inputs of each."""


def _pointwise(operation: Operation, known: Sequence[_Parts], parts: Mapping[Tensor, _Parts]) -> Found | None:
    """Give every part the same elements of each operand."""
    output, sizes = operation.outputs[0], known[0].sizes
    from_end = {len(t.shape) - parts[t].axis for t in operation.inputs if t is not None and t in parts}
    if len(from_end) != 1 or any(one.sizes != sizes for one in known):
        return None
    (distance,) = from_end
    columns = []
    for tensor in operation.inputs:
        if tensor is None or tensor in parts:
            columns.append([None] * len(sizes) if tensor is None else list(parts[tensor].tensors))
            continue
        if len(tensor.shape) < distance or tensor.shape[-distance] == 1:
            columns.append([tensor] * len(sizes))
        elif tensor.constant is not None:
            columns.append(list(_cut(tensor, len(tensor.shape) - distance, sizes)))
        else:
            return None
    return len(output.shape) - distance, list(zip(*columns, strict=True))


def _gather(operation: Operation, known: Sequence[_Parts], parts: Mapping[Tensor, _Parts]) -> Found | None:
    """Take the same places of every part, along another axis."""
    source, places = operation.inputs
    if source is None or places is None or source not in parts or places.constant is None or places.constant.ndim != 1:
        return None
    if operation.integer("axis", 0) % len(source.shape) == known[0].axis:
        return None
    return known[0].axis, [(part, places) for part in known[0].tensors]


def _matmul(operation: Operation, known: Sequence[_Parts], parts: Mapping[Tensor, _Parts]) -> Found | None:
    """Multiply the columns of every part."""
    left, right = operation.inputs
    if left is None or right is None or left in parts or right not in parts or known[0].axis != len(right.shape) - 1:
        return None
    return len(operation.outputs[0].shape) - 1, [(left, part) for part in known[0].tensors]


def _squeeze(operation: Operation, known: Sequence[_Parts], parts: Mapping[Tensor, _Parts]) -> Found | None:
    """Drop or add axes of size one beside the axis of the parts."""
    source, output, axis = operation.inputs[0], operation.outputs[0], known[0].axis
    assert source is not None
    # The axis of the parts is the one with as many axes behind it that are larger than one.
    behind = [size for size in source.shape[axis + 1 :] if size != 1]
    places = [place for place, size in enumerate(output.shape) if size == source.shape[axis]]
    fitting = [place for place in places if [size for size in output.shape[place + 1 :] if size != 1] == behind]
    if len(fitting) != 1 or source not in parts or source.shape[axis] == 1:
        return None
    return fitting[0], [(part, *operation.inputs[1:]) for part in known[0].tensors]


_RULES: Mapping[str, Callable[[Operation, Sequence[_Parts], Mapping[Tensor, _Parts]], Found | None]] = {
    "Gather": _gather,
    "MatMul": _matmul,
    "Squeeze": _squeeze,
    "Unsqueeze": _squeeze,
}


def _cut(tensor: Tensor, axis: int, sizes: Sequence[int]) -> list[Tensor]:
    assert tensor.constant is not None
    cuts = np.split(tensor.constant, np.cumsum(sizes)[:-1], axis)
    return [
        Tensor(f"{tensor.name}.{place}", part.shape, tensor.dtype, np.ascontiguousarray(part)) for place, part in enumerate(cuts)
    ]


def _needed(operations: Sequence[Operation], wanted: Sequence[Tensor]) -> tuple[Operation, ...]:
    needed, kept = set(wanted), list[Operation]()
    for operation in reversed(operations):
        if needed & set(operation.outputs):
            needed |= {tensor for tensor in operation.inputs if tensor is not None}
            kept.append(operation)
    return tuple(reversed(kept))
