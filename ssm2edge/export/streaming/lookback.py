"""The last samples of a value, kept from one block to the next: the state of convolutions, windows and delays."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, fx

from ssm2edge.export.streaming.rounding import rounded
from ssm2edge.export.streaming.steps import StateSpec, state_name
from ssm2edge.export.streaming.walk import Walk, static_sizes


@dataclass(frozen=True, eq=False)
class Lookback:
    """A buffer ``(batch, ...)`` with ``count`` samples along ``axis``.

    Attributes
    ----------
    rows
        Rows of the value in each of the batch, next to each other: above one where channels are joined to the batch.
    lead_in
        What the samples before the first block are, if not zeros. The state holds the difference from it, so that every state
        starts from zeros.
    """

    axis: int
    count: int
    sizes: tuple[int, ...]
    lead_in: Tensor | None
    rows: int = 1

    def state(self, node: fx.Node, kind: str) -> StateSpec:
        """The state, named after the module of the node that owns it."""
        return StateSpec(state_name(node, kind), self.sizes)

    def extend(self, block: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """The block with the samples before it, and the state after it."""
        before = state.to(block.dtype)
        if self.lead_in is not None:
            before = before + self.lead_in
        known = torch.cat((before if self.rows == 1 else before.flatten(0, 1), block), self.axis)
        kept = known.narrow(self.axis, known.shape[self.axis] - self.count, self.count)
        kept = kept if self.rows == 1 else kept.reshape(-1, self.rows, *kept.shape[1:])
        if self.lead_in is not None:
            kept = kept - self.lead_in
        return known, rounded(kept.to(state.dtype))


def lookback(node: fx.Node, count: int, walk: Walk, ahead: int) -> Lookback | None:
    """A buffer for the last samples of a value, or None if it has no batch or its sizes are not fixed.

    Parameters
    ----------
    node
        Whose value.
    count
        How many samples, at least one.
    ahead
        How far ahead the value is taken to be.
    """
    value, line = node.meta["val"], walk.timeline(node)
    rows = None if line is None else walk.rows_of_batch(node)
    if line is None or rows is None:
        return None
    others = static_sizes(value, (0, line.axis))
    if others is None:
        return None
    sizes = (*others[: line.axis - 1], count, *others[line.axis - 1 :])
    # Samples with negative numbers are zeros: those of the padding, or none that any value depends on.
    lead_in = walk.lead_in(node, ahead - count, ahead, rows) if ahead > 0 else None
    return Lookback(line.axis, count, sizes if rows == 1 else (rows, *sizes), lead_in, rows)
