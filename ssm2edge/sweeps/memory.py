"""Memory of processes: what one took at most, what is left, and how many such processes fit."""

from __future__ import annotations

import contextlib
import importlib
import sys
from pathlib import Path

SHARE = 0.85
"""Share of the free memory that processes may take."""


def start_peak() -> None:
    """Let the peak of this process count from now on, where the system can: Linux."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory() -> int | None:
    """Return the largest resident memory of this process in bytes; None where the system does not say."""
    found = _status("/proc/self/status", "VmHWM")
    if found is not None:
        return found
    try:
        resource = importlib.import_module("resource")
    except ModuleNotFoundError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def free_memory() -> int | None:
    """Return the memory that new processes can take, in bytes; None where the system does not say.

    Where a container is allowed less than the machine has, what it is allowed counts.
    """
    free = _status("/proc/meminfo", "MemAvailable")
    with contextlib.suppress(OSError, ValueError):
        most = int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii"))
        taken = int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii"))
        free = most - taken if free is None else min(free, most - taken)
    return free


def as_many_as_fit(jobs: int, peak: int | None, allowed: int | None) -> int:
    """Return how many processes of a peak fit into the memory that is allowed: at least one, at most ``jobs``."""
    if peak is None or allowed is None:
        return jobs
    return max(1, min(jobs, allowed // max(1, peak)))


def _status(path: str, key: str) -> int | None:
    try:
        lines = Path(path).read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))
    except (OSError, StopIteration, ValueError, IndexError):
        return None
