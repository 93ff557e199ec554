"""Which clock a latency is read from.

With one thread onnxruntime computes in the calling thread and waits for nothing, so on an idle machine the processor time of
that thread is the latency; on a machine that other processes load it still is, where wall time holds their share, too.  With
several threads, or where the system counts processor time coarsely, there is only wall time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

FINE = 1e-6
"""Seconds; a clock that ticks more slowly than this is no use for slices of a fraction of a millisecond."""


@dataclass(frozen=True)
class Clock:
    """A clock.

    Attributes
    ----------
    name
        ``processor`` or ``wall``.
    read
        Nanoseconds since some moment.
    """

    name: str
    read: Callable[[], int]


def clock_for(threads: int) -> Clock:
    """The clock for calls that use so many threads."""
    if threads == 1:
        try:
            if time.get_clock_info("thread_time").resolution <= FINE:
                return Clock("processor", time.thread_time_ns)
        except ValueError:
            pass  # a system without thread times
    return Clock("wall", time.perf_counter_ns)
