"""Comparing latencies on a noisy machine.

Sequential timing of two identical sessions can differ by a factor of two, because the machine changes in between.  Here every
round times each candidate once, in random order, so that the members of a pair see the same machine; the ratio is the median of
the pairs' ratios.  Its interval reaches from one order statistic to another: of n ratios, those of ranks k and n + 1 - k enclose
the median unless fewer than k lie on one of its sides, which has twice the probability of fewer than k heads in n throws.  This
holds for any distribution and for few rounds, too.  Fewer than six cannot say 95 % that way: there the interval is Student's, of
the logarithms of the ratios, which is wide (twelve times the spread of two rounds, four and a half times that of three halves).
"""

from __future__ import annotations

import gc
import math
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssm2edge.artifact import Ratio
from ssm2edge.verification.interval import students_t

SHORTEST = 1e-3
"""Shortest single timing in seconds; calls are repeated within it, so that the clock's own cost does not count."""

FEWEST = 6
"""Rounds that a comparison takes in any case: the least and the largest of six ratios are an interval of 97 % for the median."""

LEAST, LONG = 3, 0.5
"""Rounds that a comparison takes in any case if one lasts for so many seconds."""

SLOW = 0.1
"""Seconds from which on one call is enough to warm a candidate up and to estimate its time."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """Timings of several candidates that took turns.

    Attributes
    ----------
    baseline
        Candidate that the ratios are relative to.
    seconds
        By candidate, ``[rounds]`` float64: time of one call in each round.
    """

    baseline: str
    seconds: Mapping[str, NDArray[np.float64]]

    @property
    def rounds(self) -> int:
        """Number of timings of each candidate."""
        return len(self.seconds[self.baseline])

    def median(self, name: str) -> float:
        """Return the median time of one call, in seconds."""
        return float(np.median(self.seconds[name]))

    def percentile(self, name: str, percent: float) -> float:
        """Return a percentile of the time of one call, in seconds."""
        return float(np.percentile(self.seconds[name], percent))

    def ratio(self, name: str, confidence: float = 0.95) -> Ratio:
        """Return the time of a candidate relative to the baseline's, with an interval of at least that confidence."""
        ratios = np.sort(self.seconds[name] / self.seconds[self.baseline])
        if 1 < self.rounds < FEWEST:
            found, median = students_t(np.log(ratios), confidence), float(np.median(ratios))
            return Ratio(median, min(math.exp(found.low), median), max(math.exp(found.high), median))
        cut = _ranks_outside(self.rounds, confidence)
        return Ratio(float(np.median(ratios)), float(ratios[cut]), float(ratios[-1 - cut]))

    def ratios(self) -> dict[str, Ratio]:
        """Return the ratio of every candidate but the baseline."""
        return {name: self.ratio(name) for name in self.seconds if name != self.baseline}


def interleaved(
    candidates: Mapping[str, Callable[[], object]],
    *,
    baseline: str,
    rounds: int = 40,
    warmup: int = 3,
    budget: float = math.inf,
    seed: int = 0,
    shortest: float = SHORTEST,
) -> Comparison:
    """Time candidates in turns.

    Parameters
    ----------
    candidates
        Calls without arguments, by name.
    baseline
        One of the names.
    rounds
        Timings of each candidate.
    warmup
        Calls of each before the first timing; a slow candidate gets one.
    budget
        Seconds after which no new round begins, but never before the sixth, or the third where rounds take long.
    seed
        Of the order within the rounds.
    shortest
        Shortest timing in seconds; calls are repeated within it. Longer timings see warm caches, shorter ones the caches that the
        other candidates left.

    Raises
    ------
    ValueError
        If the baseline is not among the candidates, or there is no round.
    """
    if baseline not in candidates or rounds < 1:
        raise ValueError(f"The baseline {baseline!r} must be one of the candidates, and there must be at least one round.")
    end = time.perf_counter() + budget
    once = {name: _once(call, warmup) for name, call in candidates.items()}
    repeats = {name: max(1, math.ceil(shortest / max(seconds, 1e-7))) for name, seconds in once.items()}
    fewest = LEAST if sum(once.values()) > LONG else FEWEST
    order = np.random.default_rng(seed)
    names = list(candidates)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    collecting = gc.isenabled()
    gc.disable()
    try:
        for number in range(rounds):
            if number >= fewest and time.perf_counter() > end:
                break
            for index in order.permutation(len(names)):
                name = names[index]
                seconds[name].append(_time(candidates[name], repeats[name]))
    finally:
        if collecting:
            gc.enable()
    return Comparison(baseline, {name: np.array(values) for name, values in seconds.items()})


def processor_name() -> str:
    """Return the processor's name without the number of logical cores."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.lower().startswith(("model name", "hardware")):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def _ranks_outside(rounds: int, confidence: float) -> int:
    """Return how many ratios the interval of the median leaves out on either side."""
    cut, tail, allowed = 0, 1, Fraction((1 - confidence) / 2) * 2**rounds
    while tail + math.comb(rounds, cut + 1) <= allowed:
        cut += 1
        tail += math.comb(rounds, cut)
    return cut


def _once(call: Callable[[], object], warmup: int) -> float:
    """Warm a candidate up; return the seconds of one call."""
    once = _time(call, 1)
    if once < SLOW:
        for _ in range(warmup - 1):
            call()
        once = min(_time(call, 1) for _ in range(3))
    return once


def _time(call: Callable[[], object], repeats: int) -> float:
    start = time.perf_counter_ns()
    for _ in range(repeats):
        call()
    return max(time.perf_counter_ns() - start, 1) * 1e-9 / repeats
