"""Values that run along time and do not depend on the input, such as learned positions: a table, and a count of samples.

The state is the number of samples so far, in each row of the batch; behind the longest sequence the last row of the table stays.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, fx

from ssm2edge.export.streaming.steps import BlockStep, StateSpec, state_name
from ssm2edge.export.streaming.walk import Walk, refusal
from ssm2edge.traced.errors import StreamingError
from ssm2edge.traced.positions import values_at


def counted(node: fx.Node, rank: int, walk: Walk) -> BlockStep:
    """Return the step of a positional value that meets values of so many axes.

    Raises
    ------
    StreamingError
        If there is no longest sequence, or the value of a sample depends on the length.
    """
    traced, line = walk.traced, walk.timeline(node)
    if traced.longest is None:
        raise StreamingError(
            refusal(node, "counts the samples of sequences that have no longest length (a table of positions, or --length, has)")
        )
    most = traced.longest // traced.multiple * traced.multiple
    (table,) = values_at(traced.program, [node], traced.inputs, most)
    shape = (*(1 for _ in range(rank - table.ndim)), *table.shape)
    axis = 0 if line is None else line.axis + rank - table.ndim
    if line is None or line.rate != 1 or line.offset != 0 or axis == 0 or shape[0] != 1 or not _is_fixed(node, table, walk):
        raise StreamingError(refusal(node, "depends on the length of the whole sequence"))
    given = walk.timeline(walk.given)
    assert given is not None
    time, sample = given.axis, (*shape[1:axis], *shape[axis + 1 :])
    rows = table.reshape(shape).movedim(axis, 0).reshape(most, -1).contiguous()

    def compute(args: tuple[object, ...], kwargs: dict[str, object], state: Tensor | None) -> tuple[object, Tensor | None]:
        assert state is not None
        block = cast(Tensor, args[-1]).shape[time]
        places = (state.to(torch.int64) + torch.arange(block)).clamp(max=most - 1)
        found = rows.index_select(0, places.reshape(-1)).reshape(-1, block, *sample).movedim(1, axis)
        return found, (state + block).clamp(max=most)

    return BlockStep(compute, StateSpec(state_name(node, "position"), (1,)), ahead=0, beside=walk.given, alone=True)


def _is_fixed(node: fx.Node, table: Tensor, walk: Walk) -> bool:
    """Return True if a shorter sequence has the first values of a longer one."""
    line, traced = walk.timeline(node), walk.traced
    assert line is not None
    most = table.shape[line.axis]
    for steps in {1, max(1, most // traced.multiple // 2), max(1, most // traced.multiple - 1)}:
        length = max(traced.multiple * steps, 1)
        (value,) = values_at(traced.program, [node], traced.inputs, length)
        if value.shape[line.axis] != length or not _is_equal(value, table.narrow(line.axis, 0, length)):
            return False
    return True


def _is_equal(value: Tensor, expected: Tensor) -> bool:
    return torch.allclose(value, expected, 1e-5, 1e-6) if value.is_floating_point() else torch.equal(value, expected)
