"""Division that survives zeros."""

from __future__ import annotations

from torch import Tensor

TINY = 1e-300
"""Floor of what is divided by: only zeros lie below it."""


def relative(part: Tensor, whole: Tensor) -> Tensor:
    """Return ``part / whole``; zero where both are zero."""
    return part / whole.clamp_min(TINY)
