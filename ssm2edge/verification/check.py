"""Result of a verification: named checks, each with its figure and limit, and the verdict on all of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm2edge.artifact import Accuracy

Array = NDArray[Any]


@dataclass(frozen=True)
class Check:
    """One result.

    Attributes
    ----------
    name
        ``group.property``, such as ``streaming.carried``.
    figure
        Measured value; None if it was not finite or there is nothing to measure.
    limit
        Largest figure that passes; None for a figure without a limit.
    passed
        True if it is within the limit.
    detail
        One sentence for people.
    """

    name: str
    figure: float | None
    limit: float | None
    passed: bool
    detail: str

    def __str__(self) -> str:
        figure = "" if self.figure is None else f"{_in_words(self.figure)}, "
        return self.detail if self.limit is None else f"{self.detail}; {figure}the limit is {_in_words(self.limit)}"


def _in_words(figure: float) -> str:
    return f"{figure:,.0f}" if abs(figure) >= 1000 else f"{figure:.3g}"


@dataclass(frozen=True)
class LayerErrors:
    """Errors at the output of one layer, on the probes.

    Attributes
    ----------
    name
        As in the manifest; ``@2`` and so on for further calls of the same layer.
    parity
        Largest difference between the graph and the reduced torch model, relative to the largest magnitude; None if not finite.
    error
        Root mean square difference between the graph and the original, relative to the original's root mean square.
    """

    name: str
    parity: float | None
    error: float | None


@dataclass(frozen=True)
class Verdict:
    """All checks of one artifact.

    Attributes
    ----------
    checks
        In the order they ran.
    accuracy
        Of the original and of the artifact on the held-out samples, for the first output with labels; None without labels.
    layers
        Errors layer by layer, in the graph's order; empty if they were not recorded.
    heads
        By output, if more than the first one are judged; else empty.
    """

    checks: tuple[Check, ...]
    accuracy: Accuracy | None = None
    layers: tuple[LayerErrors, ...] = ()
    heads: Mapping[str, Accuracy] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """True if every check passed."""
        return all(check.passed for check in self.checks)

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that did not pass."""
        return tuple(check for check in self.checks if not check.passed)

    def with_check(self, check: Check) -> Verdict:
        """Return the verdict with one more check."""
        return replace(self, checks=(*self.checks, check))

    def to_json(self) -> dict[str, Any]:
        """Return plain values, every number finite."""
        return {
            "passed": self.passed,
            "checks": [asdict(check) for check in self.checks],
            "accuracy": None if self.accuracy is None else asdict(self.accuracy),
            "layers": [asdict(layer) for layer in self.layers],
            **({"heads": {name: asdict(value) for name, value in self.heads.items()}} if self.heads else {}),
        }


def within(name: str, figure: float, limit: float, detail: str) -> Check:
    """Return a check that passes if the figure is at most the limit; one that is not finite fails."""
    if not math.isfinite(figure):
        return Check(name, None, limit, False, f"{detail}; the figure is not finite")
    return Check(name, figure, limit, figure <= limit, detail)


def relative_error(actual: Mapping[str, Array], expected: Mapping[str, Array], usual: Mapping[str, Array] | None = None) -> float:
    """Return the largest absolute difference relative to the largest expected magnitude, over the worst output.

    Not finite if a shape differs, an output is missing, or any value is not finite.

    Parameters
    ----------
    actual, expected
        Outputs by name.
    usual
        Outputs as they usually are: differences are relative to their magnitude where it is larger.
    """
    worst = 0.0
    for name, wanted in expected.items():
        if name not in actual or actual[name].shape != wanted.shape:
            return math.inf
        if wanted.size == 0:
            continue
        difference = np.abs(actual[name].astype(np.float64) - wanted).max()
        scale = max(np.abs(value.astype(np.float64)).max(initial=0.0) for value in (wanted, (usual or {}).get(name, wanted)))
        if not np.isfinite(difference):
            return math.inf
        worst = max(worst, float(difference if difference == 0.0 else difference / max(scale, np.finfo(np.float32).tiny)))
    return worst
