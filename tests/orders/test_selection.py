"""The smallest size that is shown to hold is chosen, with no more mistakes than allowed."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from ssm2edge.orders.selection import ladder, select, start_of
from ssm2edge.verification.paired import Evidence, score_bound


def test_sizes_rise_by_about_a_half_and_stay_below_all_states() -> None:
    for least, most, unit in ((192, 12288, 64), (2, 768, 1), (8, 48, 4)):
        rungs = ladder(least, most, unit)
        assert least <= rungs[0] <= least + unit
        assert rungs[-1] < most <= max(rungs[-1] + 2 * unit, 1.7 * rungs[-1])
        assert all(b % unit == 0 and b - a <= max(2 * unit, 0.6 * a + unit) for a, b in pairwise(rungs))
        start = rungs[start_of(rungs, most)]
        assert start == min(rungs, key=lambda rung: abs(math.log(8 * rung / most)))
        assert least > most / 8 or 0.75 < 8 * start / most < 1.3
    assert ladder(4, 4, 1) == []


def of_bounds(bounds: dict[int, float], seen: list[int]) -> Callable[[int, float], Evidence]:
    def evidence(size: int, confidence: float) -> Evidence:
        seen.append(size)
        return Evidence(bounds[size] - 0.1, bounds[size], 100)

    return evidence


@pytest.mark.parametrize("holding", range(12))
@pytest.mark.parametrize("start", [0, 4, 10])
def test_the_smallest_that_holds_is_found_by_sequences_that_stop_at_the_first_that_does_not(holding: int, start: int) -> None:
    sizes = list(range(10, 21))
    seen: list[int] = []
    bounds = {size: 0.5 if index >= holding else 2.0 for index, size in enumerate(sizes)}
    found = select(sizes, start, of_bounds(bounds, seen), 1.0, 0.95)
    assert found.size == (sizes[holding] if holding < len(sizes) else None)
    assert seen[0] == sizes[start]
    down = [size for size in sizes[: start + 1][::-1] if size >= sizes[max(holding, 1) - 1]]
    if holding <= start:
        assert seen == down
        assert found.each == pytest.approx(0.96)
    else:
        assert seen[1:] == [size for size in sizes[start + 1 :][::-1] if size >= sizes[holding - 1]]
        assert found.each == pytest.approx(0.99 if start < 10 else 0.96)


def test_no_size_is_chosen_of_none() -> None:
    assert select([], 0, of_bounds({}, []), 1.0, 0.95).size is None


def test_a_smaller_size_that_holds_on_the_samples_alone_is_said_with_the_number_that_would_do() -> None:
    counts = {10: 30, 20: 8, 30: 1, 40: 0}

    def evidence(size: int, confidence: float) -> Evidence:
        lost = counts[size]
        return Evidence(lost / 10, 100 * score_bound(lost, 0, 1000, confidence), 1000, (lost, 0))

    found = select(list(counts), 2, evidence, 1.0, 0.95)
    assert found.size == 30
    assert found.wanting is not None
    size, needed = found.wanting
    assert size == 20
    assert 100 * score_bound(0.008 * needed, 0, needed, found.each) <= 1.0


@pytest.mark.slow
@pytest.mark.parametrize("start", [4, 7, 12])
def test_whatever_is_chosen_loses_more_than_allowed_as_seldom_as_asked_for(start: int) -> None:
    """Models whose true losses cross the limit slowly: the worst case for a search that looks again and again."""
    generator = np.random.default_rng(0)
    sizes, samples, runs = list(range(16)), 800, 1500
    losses = 0.01 + 0.004 * (7.5 - np.array(sizes)) / 7.5
    mistakes = 0
    for _ in range(runs):
        lost = {size: generator.multinomial(samples, (0.02 + losses[size], 0.02, 0.96 - losses[size])) for size in sizes}

        def evidence(size: int, confidence: float, lost: dict[int, np.ndarray] = lost) -> Evidence:
            b, c, _ = map(int, lost[size])
            return Evidence(100 * (b - c) / samples, 100 * score_bound(b, c, samples, confidence), samples, (b, c))

        found = select(sizes, start, evidence, 1.0, 0.95)
        mistakes += found.size is not None and losses[found.size] > 0.01
    assert mistakes / runs <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)
