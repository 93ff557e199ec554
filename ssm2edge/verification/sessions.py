"""Ratios of latencies between two artifacts, over sessions that are built anew each time.

Two sessions of the same file differ by one to several per cent for their whole life, because their weights and buffers lie at
different places in memory; no number of runs of one pair of sessions averages this out.  This module therefore averages one log
ratio for each pair of fresh sessions.  Within a pair the two take turns in random order in
slices of a fraction of a millisecond, so that both see the same machine.
"""

from __future__ import annotations

import contextlib
import gc
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssm2edge.runtime import Model
from ssm2edge.verification.check import Array
from ssm2edge.verification.clock import Clock
from ssm2edge.verification.subject import Subject

Opener = Callable[[], AbstractContextManager[Callable[[], object]]]
"""Builds a fresh session and returns the call to time."""

SLICE = 3e-4
"""Shortest slice in seconds: short beside a scheduler's turn, long beside reading the clock."""

TURNS = 60
"""Slices of each of a pair."""

SESSION_TIME = 0.25
"""Seconds of slices per pair of sessions, above which slow models take fewer turns, but never fewer than `FEWEST`."""

FEWEST = 5

SLOW = 0.1
"""Seconds from which on one call is enough to warm a session up and to estimate its time."""

LARGEST_BALLAST = 1 << 18
"""Bytes; memory of random size is held while sessions are built, so that their places differ."""


@dataclass(frozen=True)
class PairOfSessions:
    """Result of one pair of fresh sessions.

    Attributes
    ----------
    logarithm
        Median over the turns of the logarithm of the candidate's time over the baseline's.
    baseline, candidate
        Median seconds of one call.
    """

    logarithm: float
    baseline: float
    candidate: float


def compare_sessions(
    baseline: Opener, candidate: Opener, clock: Clock, generator: np.random.Generator, fewest: int = FEWEST
) -> PairOfSessions:
    """Build one session of each, in random order, and time them in at least so many turns."""
    with contextlib.ExitStack() as stack:
        ballast: list[NDArray[np.uint8]] = []
        calls: dict[int, Callable[[], object]] = {}
        for which in generator.permutation(2):
            ballast.append(np.ones(int(generator.integers(1, LARGEST_BALLAST)), np.uint8))
            calls[int(which)] = stack.enter_context((baseline, candidate)[which]())
        with _no_collection():
            once = [_once(calls[which], clock) for which in (0, 1)]
            repeats = [max(1, math.ceil(SLICE / seconds)) for seconds in once]
            turn = sum(count * seconds for count, seconds in zip(repeats, once, strict=True))
            turns = max(fewest, min(TURNS, int(SESSION_TIME / turn)))
            seconds = np.empty((turns, 2))
            for row in seconds:
                for which in generator.permutation(2):
                    row[which] = time_calls(calls[int(which)], repeats[which], clock)
        del ballast
    medians = np.median(seconds, axis=0)
    return PairOfSessions(float(np.median(np.log(seconds[:, 1] / seconds[:, 0]))), float(medians[0]), float(medians[1]))


def openers(subject: Subject, inputs: Mapping[str, Array]) -> dict[str, Opener]:
    """Return the calls of a subject that can be timed: ``offline`` on whole inputs, ``stream`` on their first block.

    Parameters
    ----------
    subject
        Graphs.
    inputs
        One sequence of every input.
    """

    @contextlib.contextmanager
    def offline() -> Iterator[Callable[[], object]]:
        with Model(subject.offline, threads=subject.threads) as model:
            yield lambda: model.run(inputs)

    @contextlib.contextmanager
    def stream() -> Iterator[Callable[[], object]]:
        assert subject.stream is not None
        with subject.open_stream(1, endless=True, checks=True) as stream:
            block = subject.cut(inputs, 0, stream.block)
            samples = next(iter(block.values())) if len(block) == 1 else block
            yield lambda: stream.push(samples)

    return {"offline": offline} if subject.stream is None else {"offline": offline, "stream": stream}


def time_calls(call: Callable[[], object], count: int, clock: Clock) -> float:
    """Return the seconds of one call, measured over ``count`` calls."""
    start = clock.read()
    for _ in range(count):
        call()
    return max(clock.read() - start, 1) * 1e-9 / count


def _once(call: Callable[[], object], clock: Clock) -> float:
    """Return the seconds of one warm call; a slow one is not called again for it."""
    first = time_calls(call, 1, clock)
    if first >= SLOW:
        return first
    call()
    return max(1e-7, min(time_calls(call, 1, clock) for _ in range(3)))


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
