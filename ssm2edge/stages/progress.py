"""Reports of progress from stages."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable

Progress = Callable[[str, float], None]
"""Called with the stage's name and the share of it that is done."""


def silent(stage: str, share: float) -> None:
    """Say nothing."""


LONG = 60.0
"""Seconds from which on a stage says how long it will take."""


def announcing(progress: Progress) -> Progress:
    """Return reports that say after a stage's first part how long the whole takes, if that is long, and the memory it took."""
    first: dict[str, tuple[float, float]] = {}
    said: dict[str, str] = {}

    def report(stage: str, share: float) -> None:
        now = time.monotonic()
        begun, before = first.setdefault(stage, (now, share))
        if share > before and stage not in said:
            seconds = (now - begun) / (share - before)
            said[stage] = f"{stage}: {_cost(seconds)}" if seconds > LONG else stage
        progress(said.get(stage, stage), share)

    return report


def _cost(seconds: float) -> str:
    minutes = round(seconds / 60)
    text = f"about {minutes} minute{'s' if minutes > 1 else ''}"
    peak = _peak_memory()
    return text if peak is None else f"{text}, {peak / 2**30:.1f} GiB"


def _peak_memory() -> float | None:
    """Return the largest memory of the process so far in bytes; None where the system does not say."""
    try:
        resource = importlib.import_module("resource")
    except ModuleNotFoundError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else peak * 1024)
