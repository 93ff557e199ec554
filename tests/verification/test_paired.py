"""Bounds of losses cover the truth as often as they say, and count samples as an exact test does."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from ssm2edge.verification.nrmse import normalised_error, size_of
from ssm2edge.verification.paired import (
    fewest_samples,
    lost_answers,
    relative_error,
    risen_error,
    root_mean_square_error,
    score_bound,
)
from tests.slow_cases import slow


def coverage(samples: int, lost: float, gained: float, confidence: float) -> float:
    """Probability that the bound is at least the true loss: the sum over every table of counts that may be seen."""
    likely = int(binom.ppf(1 - 1e-9, samples, max(lost, gained))) + 1
    found = 0.0
    for b in range(likely + 1):
        rest = binom.pmf(np.arange(likely + 1), samples - b, gained / (1 - lost))
        covered = [score_bound(b, c, samples, confidence) >= lost - gained for c in range(likely + 1)]
        found += binom.pmf(b, samples, lost) * float(rest[np.array(covered)].sum())
    return found


@pytest.mark.parametrize(
    ("samples", "confidence"), [(40, 0.95), slow(100, 0.95), slow(300, 0.95), slow(300, 0.99), slow(1000, 0.99)]
)
def test_the_bound_covers_the_loss_as_often_as_it_says(samples: int, confidence: float) -> None:
    for gained in (0.0, 0.01, 0.05):
        for loss in (0.005, 0.01, 0.03):
            covered = coverage(samples, gained + loss, gained, confidence)
            # Counts are few and whole: a bound that holds is seldom exact, but it must not be empty.
            assert confidence <= covered + 2e-8


def test_what_nobody_saw_is_bounded_about_as_by_the_exact_test() -> None:
    for confidence in (0.9, 0.95, 0.99):
        exact = 1 - (1 - confidence) ** (1 / 500)
        assert score_bound(0, 0, 500, confidence) == pytest.approx(exact, rel=0.4)
        assert score_bound(0, 0, 500, confidence) >= exact


def test_more_samples_lower_the_bound_and_the_number_that_would_do_does() -> None:
    before = np.ones(1000, bool)
    after = before.copy()
    after[:6] = False
    seen = lost_answers(before, after, 0.99)
    assert seen.loss == pytest.approx(0.6)
    assert seen.counts == (6, 0)
    assert seen.bound > 1.0
    needed = seen.needed(1.0, 0.99)
    assert needed is not None
    assert (
        100 * score_bound(0.006 * needed, 0, needed, 0.99) <= 1.0 < 100 * score_bound(0.006 * (needed - 1), 0, needed - 1, 0.99)
    )
    assert seen.needed(0.6, 0.99) is None
    fewest = fewest_samples(1.0, 0.95)
    assert fewest is not None
    assert lost_answers(np.ones(fewest, bool), np.ones(fewest, bool), 0.95).bound <= 1.0
    assert lost_answers(np.ones(fewest - 1, bool), np.ones(fewest - 1, bool), 0.95).bound > 1.0
    assert fewest_samples(0.0, 0.95) is None


def test_steps_of_one_sample_are_no_more_evidence_than_the_sample() -> None:
    generator = np.random.default_rng(0)
    before = generator.random(60) < 0.9
    after = before & (generator.random(60) < 0.9)
    one, many = (
        lost_answers(np.repeat(before[:, None], steps, 1), np.repeat(after[:, None], steps, 1), 0.95) for steps in (1, 50)
    )
    assert one == many
    assert one.loss < one.bound
    # All right is no proof: the bound is that of one event which sixty samples did not show.
    same = lost_answers(np.repeat(before[:, None], 3, 1), np.repeat(before[:, None], 3, 1), 0.95)
    assert same.bound == pytest.approx(100 * (1 - 0.05 ** (1 / 60)))


def predictions(samples: int, worse: float, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True outputs, an original's and a smaller model's, whose errors are larger and depend on those of the original."""
    truth, noise, more = generator.standard_normal((3, samples, 20))
    scale = generator.gamma(4, 0.25, (samples, 1))
    before = truth + 0.1 * scale * noise
    return truth, before, before + worse * scale * more


def test_rises_of_the_error_are_those_of_the_metric() -> None:
    truth, before, after = predictions(50, 0.05, np.random.default_rng(1))
    seen = risen_error(before, after, truth, size_of(truth), 0.95)
    assert seen.loss == pytest.approx(100 * (normalised_error(after, truth) - normalised_error(before, truth)))
    assert seen.loss < seen.bound
    four = [np.concatenate([part] * 4) for part in (before, after, truth)]
    assert seen.loss < risen_error(*four, size_of(truth), 0.95).bound < seen.bound
    assert risen_error(before, before, truth, size_of(truth), 0.95).bound == 0.0


@pytest.mark.slow
@pytest.mark.parametrize("samples", [20, 200])
def test_bounds_of_errors_cover_the_truth_as_often_as_they_say(samples: int) -> None:
    generator = np.random.default_rng(2)
    truth, before, after = predictions(200_000, 0.05, generator)
    rise = 100 * (normalised_error(after, truth) - normalised_error(before, truth))
    error = 100 * root_mean_square_error(before, after)
    rises, errors, runs = 0, 0, 400
    for _ in range(runs):
        truth, before, after = predictions(samples, 0.05, generator)
        rises += risen_error(before, after, truth, 1.0, 0.95).bound >= rise
        errors += relative_error(before, after, 0.95).bound >= error
    # Four standard errors of a share of 400 below 95 %.
    assert min(rises, errors) / runs >= 0.95 - 4 * (0.95 * 0.05 / runs) ** 0.5
