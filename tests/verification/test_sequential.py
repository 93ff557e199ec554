"""Intervals cover as they promise, and verdicts follow from them, with more data where it is needed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from scipy import stats

from ssm2edge.verification import interval as interval_module
from ssm2edge.verification.clock import clock_for
from ssm2edge.verification.interval import bootstrap_t
from ssm2edge.verification.sequential import Outcome, decide
from ssm2edge.verification.sessions import PairOfSessions, compare_sessions


def measured(logarithms: Iterator[float]) -> Callable[[], PairOfSessions]:
    return lambda: PairOfSessions(next(logarithms), 1.0, 1.0)


def noise(mean: float, spread: float, seed: int) -> Iterator[float]:
    generator = np.random.default_rng(seed)
    while True:
        yield float(generator.normal(mean, spread))


@pytest.mark.parametrize("confidence", [0.9, 0.99])
def test_interval_of_normal_figures_is_about_students(confidence: float) -> None:
    ratios = []
    for seed in range(40):
        values = np.random.default_rng(seed).normal(size=12)
        found = bootstrap_t(values, confidence)
        student = stats.t.interval(confidence, 11, values.mean(), stats.sem(values))
        ratios.append((found.high - found.low) / (student[1] - student[0]))
    assert 0.9 < np.median(ratios) < 1.3


def test_interval_covers_the_mean_of_skewed_figures_more_often_than_the_percentile_interval(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(interval_module, "RESAMPLES", 2000)
    covered = percentile = 0
    for seed in range(200):
        generator = np.random.default_rng(seed)
        values = generator.exponential(size=10)
        found = bootstrap_t(values, 0.95)
        covered += found.low <= 1.0 <= found.high
        means = values[generator.integers(0, 10, size=(2000, 10))].mean(axis=1)
        low, high = np.quantile(means, [0.025, 0.975])
        percentile += low <= 1.0 <= high
    assert covered >= 182  # 95 % of 200 is 190; 182 is nearly three standard errors below
    assert covered > percentile


def test_interval_of_too_few_figures_has_no_end() -> None:
    found = bootstrap_t(np.array([0.1, 0.2]), 0.95)
    assert (found.low, found.high) == (-math.inf, math.inf)
    same = bootstrap_t(np.full(5, 0.25), 0.95)
    assert (same.low, same.mean, same.high) == (0.25, 0.25, 0.25)


def test_clear_cases_are_decided_at_the_first_look() -> None:
    found = decide(
        {"a": measured(noise(0.0, 0.01, 1)), "b": measured(noise(0.1, 0.01, 2))}, {"a": 1.05, "b": 1.05}, (8, 16), 0.95
    )
    assert found["a"].outcome is Outcome.PASSED
    assert found["b"].outcome is Outcome.REGRESSION
    assert (found["a"].sessions, found["b"].sessions) == (8, 8)
    assert found["b"].low <= math.exp(0.1) <= found["b"].high


def test_only_what_is_undecided_is_measured_again() -> None:
    counts = {"clear": 0, "close": 0}

    def counting(name: str, logarithms: Iterator[float]) -> Callable[[], PairOfSessions]:
        def measure() -> PairOfSessions:
            counts[name] += 1
            return PairOfSessions(next(logarithms), 1.0, 1.0)

        return measure

    close = noise(math.log(1.05), 0.05, 3)
    measure = {"clear": counting("clear", noise(0.0, 0.001, 4)), "close": counting("close", close)}
    found = decide(measure, {"clear": 1.05, "close": 1.05}, (6, 12, 24), 0.95)
    assert found["close"].outcome is Outcome.INCONCLUSIVE
    assert counts == {"clear": 6, "close": 24}


def test_verdicts_at_the_threshold_err_at_most_as_often_as_said(monkeypatch: pytest.MonkeyPatch) -> None:
    # The worst case: a ratio exactly at the threshold, where every verdict is an error.
    monkeypatch.setattr(interval_module, "RESAMPLES", 2000)
    erred = 0
    for seed in range(200):
        (found,) = decide({"a": measured(noise(0.05, 0.03, seed))}, {"a": math.exp(0.05)}, (6, 9, 12), 0.95).values()
        erred += found.outcome is not Outcome.INCONCLUSIVE
    assert erred <= 20  # at most 10 are expected at 5 %, with a standard error of 3


def test_uncertain_baseline_widens_the_interval() -> None:
    sharp = decide({"a": measured(noise(0.1, 0.005, 5))}, {"a": 1.05}, (8,), 0.95)["a"]
    vague = decide({"a": measured(noise(0.1, 0.005, 5))}, {"a": 1.05}, (8,), 0.95, {"a": (-0.1, 0.1)})["a"]
    assert sharp.outcome is Outcome.REGRESSION
    assert vague.outcome is Outcome.INCONCLUSIVE
    assert vague.high == pytest.approx(sharp.high * math.exp(0.1))


def test_pair_of_sessions_gives_the_ratio_of_two_calls() -> None:
    import contextlib
    from collections.abc import Iterator as Yields

    opened: list[int] = []

    def opener(size: int) -> Callable[[], contextlib.AbstractContextManager[Callable[[], object]]]:
        @contextlib.contextmanager
        def session() -> Yields[Callable[[], object]]:
            opened.append(size)
            values = np.random.default_rng(0).standard_normal(size)
            yield lambda: np.sort(values)

        return session

    found = compare_sessions(opener(400), opener(8000), clock_for(1), np.random.default_rng(0))
    assert sorted(opened) == [400, 8000]
    # Sorting twenty times as many numbers takes ten to sixty times as long on any machine, however loaded.
    assert math.log(5) < found.logarithm < math.log(150)
    assert found.candidate > found.baseline


def test_clock_of_one_thread_does_not_run_while_others_do() -> None:
    import time

    clock = clock_for(1)
    assert clock_for(2).name == "wall"
    if clock.name == "processor":
        start = clock.read()
        time.sleep(0.05)
        assert clock.read() - start < 2e7
