"""Clocks for latencies.

With one thread onnxruntime computes in the calling thread and waits for nothing, so on an idle machine the processor time of
that thread is the latency; on a loaded machine it still is, while wall time includes the share of other processes.  With
several threads, or where the system counts processor time coarsely, there is only wall time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

FINE = 1e-6
"""Seconds; a clock with longer ticks cannot time slices of a fraction of a millisecond."""


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
    """Return the clock for calls that use so many threads."""
    if threads == 1:
        try:
            if time.get_clock_info("thread_time").resolution <= FINE:
                return Clock("processor", time.thread_time_ns)
        except ValueError:
            pass  # a system without thread times
    return Clock("wall", time.perf_counter_ns)
