"""Budgets of a device: bytes of a graph, and the time of a step of the stream on this machine."""

from __future__ import annotations

import numpy as np

from ssm2edge.errors import UserError
from ssm2edge.verification.check import Check, within
from ssm2edge.verification.clock import clock_for
from ssm2edge.verification.sessions import openers, time_calls
from ssm2edge.verification.subject import Subject

SESSIONS, CALLS = 5, 200
"""Fresh sessions, whose places in memory differ, and calls of each."""
SECONDS = 0.3
"""For the calls of one session; slow steps are called less often."""


def largest_graph(subject: Subject) -> tuple[str, int]:
    """Return the name and the bytes of the largest graph."""
    paths = [path for path in (subject.offline, subject.stream) if path is not None]
    largest = max(paths, key=lambda path: path.stat().st_size)
    return largest.name, largest.stat().st_size


def step_microseconds(subject: Subject) -> float:
    """Return the median time of one step of the stream.

    Raises
    ------
    UserError
        If the model does not stream.
    """
    if subject.stream is None:
        raise UserError("A largest latency is that of a step of the stream, but this model does not stream; ask for --max-bytes.")
    clock, opener = clock_for(subject.threads), openers(subject, subject.held_out(1))["stream"]
    medians = []
    for _ in range(SESSIONS):
        with opener() as call:
            once = min(time_calls(call, 1, clock) for _ in range(5))
            calls = max(5, min(CALLS, int(SECONDS / once)))
            medians.append(float(np.median([time_calls(call, 1, clock) for _ in range(calls)])))
    return 1e6 * float(np.median(medians))


def size(subject: Subject) -> Check | None:
    """Check the bytes of every graph against the limit that chose the size."""
    if subject.limits.bytes is None:
        return None
    name, found = largest_graph(subject)
    return within("budget.bytes", float(found), float(subject.limits.bytes), f"bytes of {name}, the largest graph")


def latency(subject: Subject) -> Check | None:
    """Check the time of a step against the limit that chose the size."""
    if subject.limits.latency is None:
        return None
    detail = f"microseconds of a step of the stream here, batch 1, medians of {SESSIONS} sessions"
    return within("budget.latency", step_microseconds(subject), subject.limits.latency, detail)
