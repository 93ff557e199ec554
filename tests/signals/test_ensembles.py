"""Synthetic signals are of the kind that they are named after, and the same from the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from ssm2edge.signals.ensemble import Array
from ssm2edge.signals.mixture import CHOSEN, mixture
from ssm2edge.signals.registry import ENSEMBLES

COUNT, STEPS, FEATURES = 40, 128, 5


def drawn(name: str, seed: int = 0) -> Array:
    return ENSEMBLES[name](np.random.default_rng(seed), COUNT, STEPS, FEATURES)


@pytest.mark.parametrize("name", ENSEMBLES)
def test_a_seed_gives_the_same_finite_sequences_again(name: str) -> None:
    sequences = drawn(name)
    assert (sequences.shape, sequences.dtype) == ((COUNT, STEPS, FEATURES), np.float64)
    assert np.isfinite(sequences).all()
    np.testing.assert_array_equal(sequences, drawn(name))
    assert not np.array_equal(sequences, drawn(name, 1))


@pytest.mark.parametrize("name", ENSEMBLES)
@pytest.mark.parametrize(("steps", "features"), [(1, 1), (2, 1), (7, 3)])
def test_short_and_narrow_inputs_have_signals_too(name: str, steps: int, features: int) -> None:
    sequences = ENSEMBLES[name](np.random.default_rng(0), 3, steps, features)
    assert sequences.shape == (3, steps, features)
    assert np.isfinite(sequences).all()


def neighbours(sequences: Array, axis: int) -> float:
    """Correlation of values with the next ones along an axis."""
    first, second = (
        np.take(sequences, range(*span), axis).ravel() for span in ((sequences.shape[axis] - 1,), (1, sequences.shape[axis]))
    )
    return float(np.corrcoef(first, second)[0, 1])


def test_white_noise_is_uncorrelated_and_coloured_and_smooth_noise_are_not() -> None:
    for axis in (1, 2):
        assert abs(neighbours(drawn("white"), axis)) < 0.03
        for name in ("coloured", "smooth"):
            assert neighbours(drawn(name), axis) > 0.3


def test_levels_are_held_and_change_in_all_features_at_once() -> None:
    changes = np.diff(drawn("levels"), axis=1) != 0
    assert (changes == changes[:, :, :1]).all()
    assert changes[:, :, 0].any(1).sum() > COUNT / 2
    assert changes.mean() < 0.3


def test_bursts_are_silent_most_of_the_time_and_rectified_noise_has_one_sign() -> None:
    assert 0.5 < (drawn("bursts") == 0).mean() < 0.99
    rectified = drawn("rectified")
    assert rectified.min() == 0
    assert 0.3 < (rectified == 0).mean() < 0.95


def test_saturated_noise_stays_at_its_limits() -> None:
    saturated = drawn("saturated")
    assert (saturated.min(), saturated.max()) == (0, 1)
    assert np.isin(saturated, (0, 1)).mean() > 0.6


def test_heavy_tails_have_more_large_values_than_noise() -> None:
    def kurtosis(sequences: Array) -> float:
        return float(np.mean(sequences**4) / np.mean(sequences**2) ** 2)

    assert kurtosis(drawn("white")) == pytest.approx(3, abs=0.15)
    assert kurtosis(drawn("heavy")) > 6


def test_transients_die_away_and_tones_do_not() -> None:
    generator = np.random.default_rng(0)
    struck = ENSEMBLES["transients"](generator, 400, STEPS, 1)
    # Half of the strikes do not oscillate: such a response falls from its strike on.
    quiet = [row for row in struck[:, :, 0] if np.count_nonzero(np.abs(np.diff(row)) > 0.5 * np.abs(row).max()) == 1]
    assert quiet
    spectrum = np.abs(np.fft.rfft(drawn("tones") * np.hanning(STEPS)[:, None], axis=1)) ** 2
    # A few sinusoids, even gliding ones, leave most frequencies empty.
    assert np.median(spectrum / spectrum.mean(1, keepdims=True)) < 0.3


def test_shifted_sequences_have_levels_of_their_own() -> None:
    assert drawn("shifted").mean(1).std() > 1.5 * drawn("smooth").mean(1).std()


@pytest.mark.parametrize("count", [1, 7, 40])
def test_the_mixture_has_equal_parts_of_unit_size(count: int) -> None:
    sequences = mixture(np.random.default_rng(0), count, STEPS, FEATURES)
    assert sequences.shape == (count, STEPS, FEATURES)
    size = np.sqrt(np.mean(sequences**2, axis=(1, 2)))
    np.testing.assert_allclose(size[size > 0], 1)
    if count >= 40:
        names = [CHOSEN[0]]
        alone = mixture(np.random.default_rng(0), count // len(CHOSEN), STEPS, FEATURES, names)
        np.testing.assert_array_equal(sequences[: len(alone)], alone)
