"""A fixed workload, so that latencies measured on different machines can be compared.

A latency relative to that of this workload, both measured in one run, measures the work of a graph; the speed of the machine
cancels as far as the same limits apply to both.  ``scripts/make_workload.py`` made it; it never changes.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from ssm2edge.artifact import Ratio
from ssm2edge.runtime import Model
from ssm2edge.verification.clock import clock_for
from ssm2edge.verification.interval import bootstrap_t, students_t
from ssm2edge.verification.sessions import Opener, PairOfSessions, compare_sessions, openers
from ssm2edge.verification.subject import Subject

PATH = Path(__file__).with_name("workload.onnx")

CHANNELS = 64
LENGTH = 512

SESSIONS = 8
"""Pairs of sessions when a build records its latency."""

BUDGET = 4.0
"""Seconds after which no further pair is opened for a graph, but never before the fifth: an interval of four may have no end."""

FEWEST = 5

LEAST, LONG = 3, 1.0
"""Pairs that are opened in any case if one takes so many seconds; the interval of fewer than five is Student's."""


def workload(threads: int) -> Opener:
    """Return the opener of the workload for timing."""
    samples = np.random.default_rng(0).standard_normal((1, LENGTH, CHANNELS)).astype(np.float32)

    @contextlib.contextmanager
    def opened() -> Iterator[Callable[[], object]]:
        with Model(PATH, threads=threads) as model:
            yield lambda: model.run(samples)

    return opened


def relative_latencies(subject: Subject) -> dict[str, Ratio]:
    """Return the latency of each graph of a subject relative to the workload's, with its 95 % interval.

    Parameters
    ----------
    subject
        Graphs; they run on the first held-out sequence.
    """
    clock, generator = clock_for(subject.threads), np.random.default_rng(0)
    ratios = {}
    for name, opener in openers(subject, subject.held_out(1)).items():
        measure = partial(compare_sessions, workload(subject.threads), opener, clock, generator, 1)
        logarithms = np.array(list(_logarithms(measure)))
        found = (bootstrap_t if len(logarithms) >= FEWEST else students_t)(logarithms, 0.95)
        ratios[name] = Ratio(math.exp(found.mean), math.exp(found.low), math.exp(found.high))
    return ratios


def _logarithms(measure: Callable[[], PairOfSessions]) -> Iterator[float]:
    start = time.perf_counter()
    for number in range(SESSIONS):
        spent = time.perf_counter() - start
        if number >= (LEAST if spent > LONG * number else FEWEST) and spent > BUDGET:
            return
        yield measure().logarithm
