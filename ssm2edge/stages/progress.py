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
"""Seconds from which on a stage of which nothing was known says how long it will take."""

WAIT = 5.0
"""Seconds from which on a stage says beforehand how long it will take."""


def expected(stage: str, seconds: float) -> str:
    """Return a stage's name with the time it is expected to take; the name alone if nobody waits for it."""
    return stage if seconds < WAIT else f"{stage}: {_duration(seconds)}"


def announcing(progress: Progress) -> Progress:
    """Return reports that say how long a stage takes: as it was expected, or else after its first part, if that is long."""
    first: dict[str, tuple[float, float]] = {}
    said: dict[str, str] = {}

    def report(stage: str, share: float) -> None:
        now = time.monotonic()
        name = stage.partition(": ")[0]
        if name != stage:
            said[name] = stage
        begun, before = first.setdefault(name, (now, share))
        if share > before and name not in said:
            seconds = (now - begun) / (share - before)
            said[name] = f"{name}: {_cost(seconds)}" if seconds > LONG else name
        progress(said.get(name, name), share)

    return report


def _cost(seconds: float) -> str:
    peak = _peak_memory()
    return _duration(seconds) if peak is None else f"{_duration(seconds)}, {peak / 2**30:.1f} GiB"


def _duration(seconds: float) -> str:
    if seconds < LONG:
        return f"about {float(f'{seconds:.1g}') if seconds < 10 else 10 * round(seconds / 10):.0f} s"
    minutes = round(seconds / 60)
    return f"about {minutes} minute{'s' if minutes > 1 else ''}"


def _peak_memory() -> float | None:
    """Return the largest memory of the process so far in bytes; None where the system does not say."""
    try:
        resource = importlib.import_module("resource")
    except ModuleNotFoundError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else peak * 1024)
