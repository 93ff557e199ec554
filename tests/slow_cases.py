"""Cases of parametrised tests that ``-m "not slow"`` leaves out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def slow(*values: Any) -> Any:
    """Return a case of these values that is slow."""
    return pytest.param(*values, marks=pytest.mark.slow)


def slow_but(fast: Iterable[Any], cases: Iterable[Any]) -> list[Any]:
    """Return the cases, of which all but the fast ones are slow."""
    kept = list(fast)
    return [case if case in kept else slow(case) for case in cases]
