"""What a row of the table is, and how one is measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ssm2edge.verification import Comparison, interleaved

WARM = 4e-3
"""Seconds a timing lasts at least: the caches are those of a candidate in use, not of the one before it."""

SESSIONS = 3
"""How often everything is built anew: the memory a session happens to get matters."""


@dataclass(frozen=True)
class Row:
    """One measured line.

    Attributes
    ----------
    key
        Name of the row, unique; its group is the part before the slash.
    what, against
        In words.
    target
        Largest ratio (or figure in ``unit``) that meets it.
    ratio
        Measured, with the ends of its 95 % interval; a figure without noise has itself as both ends.
    unit
        Empty for ratios.
    medians
        Seconds by candidate.
    bound_by
        Share of the time by operator, from onnxruntime's profiler.
    """

    key: str
    what: str
    against: str
    target: float
    ratio: tuple[float, float, float]
    unit: str = ""
    medians: Mapping[str, float] = field(default_factory=dict)
    bound_by: Mapping[str, float] = field(default_factory=dict)

    @property
    def met(self) -> bool:
        """Whether the figure is at most the target."""
        return self.ratio[0] <= self.target

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        missed_by = 0.0 if self.met else self.ratio[0] / self.target - 1
        return {**asdict(self), "ratio": list(self.ratio), "met": self.met, "missed_by": missed_by}


Candidates = Mapping[str, Callable[[], object]]


def compare(make: Callable[[], Candidates], baseline: str, rounds: int, shortest: float = WARM) -> Comparison:
    """Interleave candidates that are built anew several times."""
    parts = [
        interleaved(make(), baseline=baseline, rounds=-(-rounds // SESSIONS), seed=session, shortest=shortest)
        for session in range(SESSIONS)
    ]
    return Comparison(baseline, {name: np.concatenate([part.seconds[name] for part in parts]) for name in parts[0].seconds})


def ratio_of(comparison: Comparison, name: str, baseline: str, scale: float = 1.0) -> tuple[float, float, float]:
    """Time of a candidate relative to any other one, with its interval, times ``scale``."""
    ratio = Comparison(baseline, comparison.seconds).ratio(name)
    return scale * ratio.ratio, scale * ratio.low, scale * ratio.high


def medians_of(comparison: Comparison, *names: str) -> dict[str, float]:
    """Medians of some candidates."""
    return {name: comparison.median(name) for name in names}
