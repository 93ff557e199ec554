"""Values that run along time and do not depend on the input: a table, or what is computed of places, and a count of samples.

The state is the number of samples so far, in each row of the batch.  Learned positions are a table; behind the longest sequence
its last row stays.  Without a longest sequence the values are computed of the count, as waves made of ``arange`` are.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, fx

from ssm2edge.export.streaming.steps import BlockStep, StateSpec, state_name
from ssm2edge.export.streaming.walk import Walk, refusal
from ssm2edge.traced.errors import StreamingError
from ssm2edge.traced.places import PlacesProgram
from ssm2edge.traced.positions import values_at

LAST = 1 << 24
"""Samples that a state in float32 counts; the count stays there."""


def counted(node: fx.Node, rank: int, walk: Walk) -> BlockStep:
    """Return the step of a positional value that meets values of so many axes.

    Raises
    ------
    StreamingError
        If the value of a sample depends on the length.
    """
    traced, line = walk.traced, walk.timeline(node)
    if traced.longest is None:
        return _computed(node, rank, walk)
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


def _computed(node: fx.Node, rank: int, walk: Walk) -> BlockStep:
    """Return the step of a value that is computed of its place alone; see :func:`counted`."""
    line, given, value = walk.timeline(node), walk.timeline(walk.given), node.meta["val"]
    axis = 0 if line is None else line.axis + rank - value.ndim
    places = PlacesProgram(walk.traced, node)
    if line is None or line.rate != 1 or line.offset != 0 or axis == 0 or not places.are_places(line.axis):
        raise StreamingError(refusal(node, "depends on the length of the whole sequence"))
    assert given is not None
    time, before, along = given.axis, rank - value.ndim, line.axis

    def compute(args: tuple[object, ...], kwargs: dict[str, object], state: Tensor | None) -> tuple[object, Tensor | None]:
        assert state is not None
        block = cast(Tensor, args[-1]).shape[time]
        numbers = (state.to(torch.int64) + torch.arange(block)).reshape(-1)
        found = places.at(numbers).movedim(along, 0)
        found = found.reshape(-1, block, *(1 for _ in range(before - 1)), *found.shape[1:] if before else found.shape[2:])
        return found.movedim(1, axis), (state + block).clamp(max=LAST)

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
