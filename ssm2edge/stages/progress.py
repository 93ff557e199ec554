"""Reports of progress from stages."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, float], None]
"""Called with the stage's name and the share of it that is done."""


def silent(stage: str, share: float) -> None:
    """Say nothing."""
