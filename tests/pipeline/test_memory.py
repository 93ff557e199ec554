"""Builds of one process do not add up: what they freed goes back to the system."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from ssm2edge.workers import giving_memory_back

MEGABYTE = 1 << 20


def resident() -> int:
    """Resident bytes of this process."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="another allocator than glibc's")
def test_memory_below_what_is_still_used_goes_back() -> None:
    """Blocks too small to be mapped on their own, below one that stays: the allocator keeps them otherwise."""
    with giving_memory_back():
        held = [bytes(60_000) for _ in range(3000)]
        last = bytes(60_000)
        full = resident()
        del held
        kept = resident()
    assert full - kept < 20 * MEGABYTE
    assert kept - resident() > 120 * MEGABYTE
    assert len(last) == 60_000
