"""Rule: any other operation whose value at a time proves to depend on its arguments at that time alone.

It is computed on numbers: on whole sequences, and on parts of them, which must be the same parts of its value.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

from ssm2edge.export.streaming.steps import BlockStep, as_is
from ssm2edge.export.streaming.timeline import Timeline, timeline
from ssm2edge.export.streaming.trial import BATCH
from ssm2edge.export.streaming.walk import Walk
from ssm2edge.traced.nodes import operator_name
from ssm2edge.traced.program import contains_symbol

SAMPLES = 12
"""Samples of the values that are computed, at least."""


class SampleBySampleRule:
    """Operators of torch that change nothing in place and have no number made of a length among their arguments."""

    def accept(self, node: fx.Node, walk: Walk) -> BlockStep | None:
        """Accept the node if parts of sequences give parts of its value."""
        operands, traced, value = walk.timed(node), walk.traced, node.meta.get("val")
        values = value if isinstance(value, list | tuple) else [value]
        before, after = [walk.rows(x) for x in operands], [timeline(x, traced, merged=True) for x in values]
        lines = [line for line in (*before, *after) if line is not None]
        if operator_name(node) is None or node.target._schema.is_mutable or not operands:  # type: ignore[union-attr]  # an aten operator
            return None
        if len(lines) != len(before) + len(after) or len({(line.rate, line.offset, line.merged) for line in lines}) != 1:
            return None
        if any(contains_symbol(x.meta.get("val"), traced.time_symbol) for x in node.all_input_nodes):
            return None
        majors = {walk.batch_major(x) for x in operands} if lines[0].merged else {True}
        if len(majors) != 1 or not _is_local(node, dict(zip(operands, lines, strict=False)), lines[len(before) :], walk, *majors):
            return None
        return as_is(node, *walk.aligned(operands))


def _is_local(node: fx.Node, operands: dict[fx.Node, Timeline], results: list[Timeline], walk: Walk, batch_major: bool) -> bool:
    """Return True if parts of the operands give parts of the results."""
    line = results[0]
    known = walk.trial.values(math.ceil((SAMPLES - min(line.offset, 0)) / line.rate), walk.frame)[0]
    length = next(iter(known[x].shape[line.axis] for x, line in operands.items()))
    length = length // BATCH if line.merged else length
    parts = ((0, length // 2), (length // 2, length), (length // 3, length // 3 + 1))
    if any(not known[x].is_floating_point() and _is_constant(known[x]) for x in operands):
        return False
    generator = torch.Generator().manual_seed(0)
    noise = {
        x: torch.randn(known[x].shape, generator=generator, dtype=known[x].dtype)
        for x in operands
        if known[x].is_floating_point()
    }

    def results_of(value_of: Callable[[fx.Node], Any]) -> list[Tensor]:
        args, kwargs = fx.map_arg((node.args, node.kwargs), value_of)
        assert callable(node.target)
        found = node.target(*args, **kwargs)
        return list(found) if isinstance(found, list | tuple) else [found]

    def cut(value: Tensor, line: Timeline, start: int, stop: int) -> Tensor:
        if not line.merged:
            return value.narrow(line.axis, start, stop - start)
        two = (BATCH, -1) if batch_major else (-1, BATCH)
        apart = value.reshape(*value.shape[: line.axis], *two, *value.shape[line.axis + 1 :])
        return apart.narrow(line.axis + batch_major, start, stop - start).flatten(line.axis, line.axis + 1)

    try:
        for values in (known, {**known, **noise}):
            whole = results_of(values.__getitem__)
            for start, stop in parts:
                found = results_of(
                    lambda x, values=values, start=start, stop=stop: (  # type: ignore[misc]  # bound at once
                        cut(values[x], operands[x], start, stop) if x in operands else values[x]
                    )
                )
                for value, line, part in zip(whole, results, found, strict=True):
                    expected = cut(value, line, start, stop)
                    if part.shape != expected.shape or not torch.allclose(part, expected, 1e-4, 1e-5, equal_nan=True):
                        return False
    except Exception:  # torch raises what it likes for parts that an operator does not take
        return False
    return True


def _is_constant(value: Tensor) -> bool:
    return bool((value == value.flatten()[0]).all())
