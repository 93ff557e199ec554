"""Results that show themselves: as tables in a terminal, as HTML in a notebook."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from ssm2edge.artifact import Manifest
from ssm2edge.tables.artifact import WIDTH, show_verdict
from ssm2edge.tables.bench import show_bench
from ssm2edge.tables.gate import show_gates
from ssm2edge.tables.layers import Kept, Layer, show_layers, show_plans
from ssm2edge.verification import Check, Comparison, Verdict
from ssm2edge.verification.bench import Bench
from ssm2edge.verification.gate import Gate, GateReport
from ssm2edge.verification.sequential import Outcome

HTML = '<pre style="white-space:pre;overflow-x:auto;line-height:1.2">{code}</pre>'


def text_of(show: Callable[[Console], None]) -> str:
    """Return tables as text."""
    file = io.StringIO()
    show(Console(file=file, width=WIDTH))
    return file.getvalue().rstrip()


def html_of(show: Callable[[Console], None]) -> str:
    """Return tables as HTML for a notebook."""
    console = Console(file=io.StringIO(), width=WIDTH, record=True, force_jupyter=False)
    show(console)
    return console.export_html(inline_styles=True, code_format=HTML)


class Shown(ABC):
    """A result with tables."""

    @abstractmethod
    def show(self, console: Console) -> None:
        """Print the tables."""

    def __str__(self) -> str:
        return text_of(self.show)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}; print it for its tables>"

    def _repr_html_(self) -> str:
        return html_of(self.show)


@dataclass(frozen=True, eq=False, repr=False)
class Verified(Shown):
    """The verdict on an artifact, with latencies measured here.

    Attributes
    ----------
    manifest
        Of the artifact.
    verdict
        All checks.
    timing
        Latencies of the graphs.
    """

    manifest: Manifest
    verdict: Verdict
    timing: Comparison

    @property
    def passed(self) -> bool:
        """True if every check passed."""
        return self.verdict.passed

    @property
    def checks(self) -> tuple[Check, ...]:
        """All checks, in the order in which they ran."""
        return self.verdict.checks

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return self.verdict.failures

    def show(self, console: Console) -> None:
        """Print the layers, every check, accuracy, latencies and the outcome."""
        show_verdict(console, self.manifest, self.verdict, self.timing)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return self.verdict.to_json()


@dataclass(frozen=True, eq=False, repr=False)
class Measured(Shown):
    """Latency, throughput and memory of an artifact."""

    directory: Path
    manifest: Manifest
    bench: Bench

    def show(self, console: Console) -> None:
        """Print latencies and the cost of starting."""
        show_bench(console, self.directory, self.manifest, self.bench)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return self.bench.to_json()


@dataclass(frozen=True, eq=False, repr=False)
class Compared(Shown):
    """An artifact against a baseline."""

    report: GateReport

    @property
    def gates(self) -> tuple[Gate, ...]:
        """All comparisons."""
        return self.report.gates

    @property
    def outcome(self) -> Outcome:
        """The worst outcome of all gates."""
        return self.report.outcome

    @property
    def exit_code(self) -> int:
        """Return code of ``ssm2edge check``: 0 passed, 1 a regression, 3 inconclusive."""
        return self.report.exit_code

    def show(self, console: Console) -> None:
        """Print every gate and the outcome."""
        show_gates(console, self.report)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return self.report.to_json()


@dataclass(frozen=True, eq=False, repr=False)
class Inspected(Shown):
    """The layers of a model, and the cost of each order.

    Attributes
    ----------
    layers
        The layers that can be reduced.
    kept_layers
        The layers that are known and stay as they are.
    weights
        Bytes of the weights outside of the layers, by precision.
    """

    layers: tuple[Layer, ...]
    kept_layers: tuple[Kept, ...]
    weights: Mapping[str, int]

    def show(self, console: Console) -> None:
        """Print a table for each layer."""
        show_layers(console, self.layers, self.kept_layers, self.weights)

    def show_plans(self, console: Console) -> None:
        """Print how the graphs would compute each layer."""
        show_plans(console, self.layers)
