"""Report of the gate: every comparison with its figures, limit and outcome, and the outcome of all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ssm2edge.verification.environment import Environment
from ssm2edge.verification.sequential import Outcome

EXIT_CODES = {Outcome.PASSED: 0, Outcome.REGRESSION: 1, Outcome.INCONCLUSIVE: 3}
"""2 is bad input."""


@dataclass(frozen=True)
class Gate:
    """One comparison.

    Attributes
    ----------
    name
        Compared quantity, such as ``offline.nodes`` or ``stream.latency``.
    baseline, candidate
        The figures; None if one is not finite or was never recorded.
    limit
        Largest figure of the candidate that passes (``accuracy``: smallest).
    outcome
        Result of the comparison.
    detail
        One sentence for people.
    measured
        Further figures: of latencies the ratio, its interval, and the pairs of sessions.
    unit
        Unit of the figures: ``s`` for latencies, else empty.
    """

    name: str
    baseline: float | None
    candidate: float | None
    limit: float | None
    outcome: Outcome
    detail: str
    measured: Mapping[str, float] | None = None
    unit: str = ""

    @property
    def figures(self) -> tuple[str, str, str]:
        """Return baseline, candidate and limit for people."""
        baseline, candidate, limit = (figure_text(value, self.unit) for value in (self.baseline, self.candidate, self.limit))
        return baseline, candidate, limit


def figure_text(value: float | None, unit: str = "", sign: str = "") -> str:
    """Return a figure for people: whole numbers in full, times with their unit, all else to six digits."""
    if value is None:
        return ""
    if unit == "s":
        scale, name = next(((s, n) for s, n in ((1.0, "s"), (1e-3, "ms")) if abs(value) >= s), (1e-6, "us"))
        return f"{value / scale:{sign}.4g} {name}"
    return f"{value:{sign},.0f}" if float(value).is_integer() and abs(value) < 1e15 else f"{value:{sign}.6g}"


@dataclass(frozen=True)
class GateReport:
    """All comparisons of one run.

    Attributes
    ----------
    gates
        In the order they ran.
    candidate, baseline
        The artifacts, as given.
    environment
        Machine and libraries.
    clock
        ``processor`` or ``wall``.
    seconds
        Duration of the run.
    """

    gates: tuple[Gate, ...]
    candidate: str
    baseline: str
    environment: Environment
    clock: str
    seconds: float

    @property
    def outcome(self) -> Outcome:
        """A regression if any gate has one, else inconclusive if any is."""
        outcomes = {gate.outcome for gate in self.gates}
        return next((worst for worst in (Outcome.REGRESSION, Outcome.INCONCLUSIVE) if worst in outcomes), Outcome.PASSED)

    @property
    def exit_code(self) -> int:
        """Exit code: 0 passed, 1 a regression, 3 inconclusive."""
        return EXIT_CODES[self.outcome]

    def to_json(self) -> dict[str, Any]:
        """Return plain values, every number finite."""
        return {
            "outcome": self.outcome.value,
            "candidate": self.candidate,
            "baseline": self.baseline,
            "gates": [asdict(gate) | {"outcome": gate.outcome.value} for gate in self.gates],
            "clock": self.clock,
            "environment": asdict(self.environment),
            "seconds": self.seconds,
        }
