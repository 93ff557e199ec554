"""A manifest recorded on one machine is a baseline on another: simulated machines whose clocks and graphs are known exactly.

A call takes so many nanoseconds of a virtual clock, times the machine's slowness, times what this session and this call happen to
cost more.  Everything but the clock and the calls is the code that runs on real machines.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from ssm2edge.artifact import Manifest, open_artifact
from ssm2edge.artifact.manifest import to_json
from ssm2edge.verification import Subject
from ssm2edge.verification import workload as recording
from ssm2edge.verification.clock import Clock
from ssm2edge.verification.gate import Policy, compare, open_baseline, speed
from ssm2edge.verification.gate.report import GateReport
from ssm2edge.verification.sequential import Outcome
from ssm2edge.verification.sessions import Opener
from tests.first_order import build
from tests.slow_cases import slow

COSTS = {"workload": 90_000.0, "offline": 310_000.0, "stream": 7_000.0}
"""Nanoseconds of a call on a machine of slowness one."""


@dataclass
class Machine:
    """A machine; ``leaning`` is how much slower it is at the graphs than at the workload."""

    slowness: float
    leaning: float = 1.0
    candidate: float = 1.0
    now: float = 0.0
    generator: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def opener(self, name: str) -> Opener:
        factor = 1.0 if name == "workload" else self.leaning * self.candidate

        @contextlib.contextmanager
        def opened() -> Iterator[Callable[[], object]]:
            session = np.exp(self.generator.normal(0.0, 0.02))

            def call() -> None:
                noise = 1.0 + self.generator.exponential(0.03)
                self.now += COSTS[name] * self.slowness * factor * session * noise

            yield call

        return opened

    def put_in_place(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for module in (recording, speed):
            monkeypatch.setattr(module, "clock_for", lambda threads: Clock("virtual", lambda: int(self.now)))
            monkeypatch.setattr(module, "workload", lambda threads: self.opener("workload"))
            monkeypatch.setattr(module, "openers", lambda *_: {name: self.opener(name) for name in ("offline", "stream")})


def recorded_on(machine: Machine, directory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A manifest with what a build measures on that machine."""
    machine.put_in_place(monkeypatch)
    artifact = open_artifact(directory)
    found = recording.relative_latencies(Subject.of(artifact))
    assert artifact.manifest.latency is not None
    manifest: Manifest = dataclasses.replace(
        artifact.manifest, latency=dataclasses.replace(artifact.manifest.latency, workload=found)
    )
    (directory / "manifest.json").write_text(to_json(manifest))
    return directory / "manifest.json"


def checked_on(machine: Machine, candidate: Path, baseline: Path, monkeypatch: pytest.MonkeyPatch) -> GateReport:
    machine.put_in_place(monkeypatch)
    return compare(open_artifact(candidate), open_baseline(baseline), Policy(), seed=0)


@pytest.mark.parametrize("recorded", [Machine(1.0), slow(Machine(0.2)), slow(Machine(9.0, leaning=1.05))])
@pytest.mark.parametrize(
    ("slower", "leaning", "expected"),
    [
        (1.0, 1.0, Outcome.PASSED),
        # Machines differ in what they are good at; a tenth is nothing.
        (1.0, 1.1, Outcome.PASSED),
        (1.0, 0.9, Outcome.PASSED),
        (1.5, 1.0, Outcome.REGRESSION),
        (1.5, 1.1, Outcome.REGRESSION),
        (1.5, 0.95, Outcome.REGRESSION),
    ],
)
def test_slower_artifact_is_told_from_a_slower_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recorded: Machine, slower: float, leaning: float, expected: Outcome
) -> None:
    baseline = recorded_on(dataclasses.replace(recorded), build(tmp_path / "base"), monkeypatch)
    machine = Machine(2.7, leaning, slower, generator=np.random.default_rng(1))
    report = checked_on(machine, build(tmp_path / "candidate"), baseline, monkeypatch)
    latencies = {gate.name: gate for gate in report.gates if gate.name.endswith(".latency")}
    assert set(latencies) == {"offline.latency", "stream.latency"}
    for gate in latencies.values():
        assert gate.outcome is expected, gate.detail
        assert gate.measured is not None
        assert gate.measured["threshold"] == 1.25
        assert gate.measured["ratio"] == pytest.approx(slower * leaning / recorded.leaning, rel=0.05)
        assert "relative to the calibration workload" in gate.detail


def test_uncertain_record_widens_the_interval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slowness just above the threshold, as far as the record itself is known, is not called a regression."""
    baseline = recorded_on(Machine(1.0), build(tmp_path / "base"), monkeypatch)
    manifest = open_artifact(tmp_path / "base").manifest
    assert manifest.latency is not None
    vague = {
        name: dataclasses.replace(ratio, low=ratio.ratio * 0.9, high=ratio.ratio * 1.1)
        for name, ratio in manifest.latency.workload.items()
    }
    (tmp_path / "vague.json").write_text(
        to_json(dataclasses.replace(manifest, latency=dataclasses.replace(manifest.latency, workload=vague)))
    )
    candidate = build(tmp_path / "candidate")
    outcomes = []
    for path in (baseline, tmp_path / "vague.json"):
        machine = Machine(1.0, candidate=1.32, generator=np.random.default_rng(1))
        report = checked_on(machine, candidate, path, monkeypatch)
        outcomes.append({gate.outcome for gate in report.gates if gate.name.endswith(".latency")})
    assert outcomes == [{Outcome.REGRESSION}, {Outcome.INCONCLUSIVE}]
