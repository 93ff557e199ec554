"""Sums that go on for ever: what rounding cuts off is carried along (Kahan's summation), so that errors do not add up."""

from __future__ import annotations

import torch
from torch import Tensor

SMALLEST = 2.0**-100
"""Sums below this are taken for zero, which keeps them, and what rounding cuts off them, from becoming subnormal numbers."""


def added(total: Tensor, cut_off: Tensor, amount: Tensor) -> tuple[Tensor, Tensor]:
    """The sum after an amount is added, and what rounding has cut off it (to be added with the next amount)."""
    step = amount + cut_off
    after = total + step
    rest = step - (after - total)
    counts = after.abs() > SMALLEST
    nothing = torch.zeros_like(after)
    return torch.where(counts, after, nothing), torch.where(counts & (rest.abs() > SMALLEST), rest, nothing)
