"""Elements by their places along an axis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ssm2edge.firmware.graph import Operation
from ssm2edge.firmware.lowering import Lowering
from ssm2edge.firmware.operators.integer_weights import rows_of


def gather(operation: Operation, lowering: Lowering) -> None:
    """Take the elements at places that are known, or rows of a table at places that come in."""
    source, places = operation.inputs
    assert source is not None
    assert places is not None
    view = lowering.view(source)
    axis = operation.integer("axis", 0) % len(source.shape)
    output, size = operation.outputs[0], source.shape[axis]
    if places.constant is None:
        _rows(operation, lowering, axis)
        return
    taken = [int(place) % size for place in places.constant.ravel()]
    found = view.gathered(axis, taken)
    if len(taken) == 1:
        found = view.sliced(axis, taken[0], 1, 1)
    shaped = found.reshaped(output.shape)
    if shaped is None:
        target = lowering.scratch(output, found.shape)
        lowering.copy(found, target)
        shaped = target.reshaped(output.shape)
        assert shaped is not None
    lowering.bind(output, shaped)


def _rows(operation: Operation, lowering: Lowering, axis: int) -> None:
    table, places = operation.inputs[0], lowering.dense(operation.inputs[1])
    assert table is not None
    shape = table.shape
    size, count = shape[axis], places.count
    outer, inner = int(np.prod(shape[:axis])), int(np.prod(shape[axis + 1 :]))
    output = operation.outputs[0]
    target = lowering.scratch(output)
    stored = None if table.constant is None or table.dtype != np.float32 else rows_of(lowering, table.constant, f"{table.name}")
    reads = (lowering.dense(table),) if stored is None else stored.reads

    def text(pointers: Sequence[str]) -> list[str]:
        *numbers, index, found = pointers
        at = f"(i * {size} + place) * {inner} + k"
        value = f"{numbers[0]}[{at}]" if stored is None else stored.value(numbers, at)
        return [
            f"for (int i = 0; i < {outer}; ++i)",
            f"  for (int j = 0; j < {count}; ++j) {{",
            "    /* A place outside the table would read foreign memory: it counts as the nearest one inside. */",
            f"    const int64_t given = {index}[j] < 0 ? {index}[j] + {size} : {index}[j];",
            f"    const int place = given < 0 ? 0 : given > {size - 1} ? {size - 1} : (int)given;",
            f"    for (int k = 0; k < {inner}; ++k)",
            f"      {found}[(i * {count} + j) * {inner} + k] = {value};",
            "  }",
        ]

    lowering.call([*reads, places], [target], text)
    lowering.bind(output, target)
