"""Ratios of interleaved timings are right where they are known."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from ssm2edge.artifact import open_artifact
from ssm2edge.verification import Comparison, Subject, interleaved, latency, sessions, time_graphs, workload
from ssm2edge.verification.interval import students_t
from tests.first_order import build


def busy(seconds: float) -> Callable[[], None]:
    """A call that lasts a known time on the clock."""

    def call() -> None:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            pass

    return call


def test_known_times_give_their_ratio() -> None:
    comparison = interleaved({"short": busy(5e-4), "long": busy(1.5e-3)}, baseline="short", rounds=25)
    ratio = comparison.ratio("long")
    assert ratio.low <= ratio.ratio <= ratio.high
    assert ratio.ratio == pytest.approx(3.0, rel=0.1)
    assert comparison.median("short") == pytest.approx(5e-4, rel=0.1)
    assert set(comparison.ratios()) == {"long"}


def test_a_machine_that_changes_speed_does_not_change_the_ratio() -> None:
    # Times of both candidates grow twentyfold in the middle of the run, as when another process starts.
    generator = np.random.default_rng(0)
    machine = np.where(np.arange(60) < 30, 1.0, 20.0)
    first = machine * np.exp(0.05 * generator.standard_normal(60))
    second = 1.1 * machine * np.exp(0.05 * generator.standard_normal(60))
    ratio = Comparison("first", {"first": first, "second": second}).ratio("second")
    assert ratio.low < 1.1 < ratio.high
    assert ratio.low > 1.05
    assert ratio.high < 1.15


@pytest.mark.parametrize(("rounds", "expected"), [(6, 0.96875), (8, 0.9921875), (9, 0.9609375), (30, 0.957226)])
def test_intervals_cover_the_true_ratio_as_often_as_they_say(rounds: int, expected: float) -> None:
    # The share is that of a fair coin: of 6 throws, all fall alike once in 32.  Times of a machine have heavy tails.
    generator, trials = np.random.default_rng(1), 1000
    covered = 0
    for _ in range(trials):
        first, second = np.exp(0.1 * generator.standard_t(2, (2, rounds)))
        ratio = Comparison("first", {"first": first, "second": second}).ratio("second")
        covered += ratio.low <= 1.0 <= ratio.high
    assert expected >= 0.95
    assert abs(covered / trials - expected) < 4 * (expected * (1 - expected) / trials) ** 0.5


@pytest.mark.parametrize("rounds", [2, 3, 4, 5])
def test_intervals_of_few_rounds_cover_the_true_ratio_too(rounds: int) -> None:
    generator, trials = np.random.default_rng(2), 2000
    allowed = 4 * (0.95 * 0.05 / trials) ** 0.5
    for drawn, tolerated in ((generator.standard_normal, allowed), (lambda size: generator.standard_t(2, size), 0.05)):
        covered = 0
        for _ in range(trials):
            first, second = np.exp(0.1 * drawn((2, rounds)))
            ratio = Comparison("first", {"first": first, "second": second}).ratio("second")
            assert ratio.low <= ratio.ratio <= ratio.high
            covered += ratio.low <= 1.0 <= ratio.high
        assert -allowed < covered / trials - 0.95 < tolerated


@pytest.mark.parametrize(("count", "confidence"), [(2, 0.95), (3, 0.95), (4, 0.9), (5, 0.99), (6, 0.95)])
def test_students_interval_is_that_of_scipy(count: int, confidence: float) -> None:
    values = np.random.default_rng(count).standard_normal(count)
    found = students_t(values, confidence)
    expected = scipy.stats.t.interval(confidence, count - 1, loc=values.mean(), scale=values.std(ddof=1) / count**0.5)
    assert (found.low, found.high) == pytest.approx(expected, rel=1e-9)


def test_every_candidate_is_timed_in_every_round_in_changing_order() -> None:
    calls: list[str] = []
    slow = {name: (lambda name=name: (calls.append(name), time.sleep(0.0015))) for name in "abc"}
    comparison = interleaved(slow, baseline="a", rounds=20, warmup=1)
    rounds = np.array(calls[-60:]).reshape(20, 3)
    assert all(set(row) == set("abc") for row in rounds)
    assert len({tuple(row) for row in rounds}) > 3
    assert comparison.rounds == 20


def test_budget_ends_a_comparison_but_not_before_six_rounds() -> None:
    comparison = interleaved({"a": busy(2e-3)}, baseline="a", rounds=10_000, budget=0.0)
    assert comparison.rounds == 6
    assert gc.isenabled()


def test_budget_ends_a_comparison_of_long_rounds_after_three(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second of warming up and three of rounds, where the original takes a second."""
    monkeypatch.setattr(latency, "LONG", 2e-3)
    monkeypatch.setattr(latency, "SLOW", 1e-3)
    calls: list[int] = []
    candidates = {"a": lambda: (calls.append(0), busy(2e-3)()), "b": busy(5e-4)}
    comparison = interleaved(candidates, baseline="a", rounds=30, budget=0.0)
    assert comparison.rounds == 3
    assert len(calls) == 4
    ratio = comparison.ratio("b")
    assert 0.0 < ratio.low <= ratio.ratio <= ratio.high < float("inf")


def test_a_slow_call_is_warmed_up_by_one_call() -> None:
    calls = []

    def slow() -> None:
        calls.append(None)
        time.sleep(0.11)

    interleaved({"a": slow}, baseline="a", rounds=1)
    assert len(calls) == 2


def test_a_graph_that_takes_seconds_is_called_few_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five sessions of two calls, of which one warms up: two calls of a second each would take ten, not eighty."""
    monkeypatch.setattr(sessions, "SLOW", 1e-3)
    monkeypatch.setattr(sessions, "SESSION_TIME", 0.0)
    monkeypatch.setattr(workload, "BUDGET", 0.0)
    calls = []

    @contextlib.contextmanager
    def opened() -> Iterator[Callable[[], None]]:
        calls.append(0)

        def call() -> None:
            calls[-1] += 1
            end = time.thread_time() + 2e-3
            while time.thread_time() < end:
                pass

        yield call

    monkeypatch.setattr(workload, "openers", lambda subject, inputs: {"offline": opened})
    found = workload.relative_latencies(Subject.of(open_artifact(build(tmp_path / "build", streams=False))))
    assert calls == [2] * 5
    assert 0 < found["offline"].low <= found["offline"].ratio <= found["offline"].high < float("inf")


def test_pairs_of_sessions_that_take_long_are_three(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workload, "BUDGET", 0.0)
    for long, expected in ((0.0, 3), (1.0, 5)):
        monkeypatch.setattr(workload, "LONG", long)
        pair = sessions.PairOfSessions(0.5, 1.0, 1.0)
        assert list(workload._logarithms(lambda pair=pair: pair)) == [0.5] * expected


def test_baseline_must_be_a_candidate() -> None:
    with pytest.raises(ValueError, match="'b'"):
        interleaved({"a": busy(1e-4)}, baseline="b")


def test_graphs_of_an_artifact_are_timed(tmp_path: Path) -> None:
    for streams, names in ((True, {"offline", "stream"}), (False, {"offline"})):
        subject = Subject.of(open_artifact(build(tmp_path / str(streams), streams=streams)))
        comparison = time_graphs(subject, rounds=8)
        assert set(comparison.seconds) == names
        assert all(0.0 < comparison.median(name) < 1.0 for name in names)
