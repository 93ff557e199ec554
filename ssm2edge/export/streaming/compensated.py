"""Sums that go on for ever: what rounding cuts off is carried along (Kahan's summation), so that errors do not add up."""

from __future__ import annotations

from torch import Tensor

from ssm2edge.export.streaming.rounding import rounded


def added(total: Tensor, cut_off: Tensor, amount: Tensor) -> tuple[Tensor, Tensor]:
    """The sum after an amount is added, and what rounding has cut off it (to be added with the next amount)."""
    step = amount + cut_off
    after = rounded(total + step)
    return after, rounded(step - (after - total))
