"""The input-weighted error: brute-force sums, finite differences, and the h2 error where the input is white."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ssm2edge.calibration.bank_spectrum import target_of
from ssm2edge.calibration.moments import moments_of, products_of
from ssm2edge.calibration.spectra import Spectra
from ssm2edge.calibration.weighted import WeightedTarget, evaluate_weighted, fit_poles, fitted
from ssm2edge.reduction import reduce_system
from ssm2edge.reduction.projection import with_best_outputs
from ssm2edge.reduction.sections import Sections, sections_of
from ssm2edge.systems.norms import h2_error
from tests.coloured_signals import exponentials, least_weighted_error, spectrum_of
from tests.random_banks import random_bank, response_of

TAPS = 23
FREQUENCIES = torch.linspace(0, torch.pi, TAPS + 2, dtype=torch.float64)


def random_target(channels: int, seed: int = 0) -> WeightedTarget:
    """Real signals as targets, and weights over three decades, some of them zero."""
    generator = np.random.default_rng(seed)
    response = spectrum_of(generator.standard_normal((channels, TAPS + 1)))
    weight = 10 ** generator.uniform(-2, 1, response.shape)
    weight[:, 5:8] = 0
    return WeightedTarget(torch.from_numpy(response), torch.from_numpy(weight), TAPS)


def brute_force(target: WeightedTarget, sections: Sections) -> np.ndarray:
    """The smallest weighted error of each channel."""
    parts = zip(target.response.numpy(), target.weight.numpy(), sections.poles().numpy(), strict=True)
    return np.array([least_weighted_error(*part, target.taps) for part in parts])


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Projections all but without their ridge, so that the formulas are seen to all digits."""
    monkeypatch.setattr("ssm2edge.calibration.weighted.RIDGE", 1e-15)


@pytest.mark.parametrize("taps", [1, 2, 5, TAPS])
def test_products_of_exponentials_are_the_brute_force_sums_over_frequencies(taps: int) -> None:
    poles = np.array([0.6 + 0.7j, 0.6 - 0.7j, -0.9, np.exp(-0.1 / taps), 1e-9, 0.3])
    generator = np.random.default_rng(1)
    weight, goal = generator.uniform(0, 1, taps + 2), spectrum_of(generator.standard_normal(taps + 1))
    found = products_of(moments_of(*(torch.from_numpy(x)[None] for x in (goal, weight)), taps), torch.from_numpy(poles)[None])
    signals = exponentials(poles, taps)
    # d pole^(k - 1) / d log pole = (k - 1) pole^(k - 1)
    slopes, first = signals * np.maximum(np.arange(taps + 1) - 1, 0), np.eye(1, taps + 1)

    def product(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        lags = np.arange(taps + 1)[:, None] - np.arange(taps + 1)
        frequencies = np.pi * np.arange(taps + 2) / (taps + 1)
        return x @ (np.cos(frequencies * lags[..., None]) @ weight) @ y.T

    # The product with the target, told by its correlation with the taps.
    frequencies = np.pi * np.arange(taps + 2) / (taps + 1)
    correlation = (weight * goal * np.exp(1j * np.outer(np.arange(taps + 1), frequencies))).real.sum(-1)
    expected = {
        "own": product(signals, signals), "half": product(signals, slopes), "slopes": product(slopes, slopes),
        "target": signals @ correlation, "target_slopes": slopes @ correlation,
        "first": product(first, signals)[0], "first_slopes": product(first, slopes)[0],
    }  # fmt: skip
    for name, value in expected.items():
        np.testing.assert_allclose(getattr(found, name)[0].numpy(), value, rtol=0, atol=1e-11 * taps**3)


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("order", [1, 2, 5, 6])
def test_value_is_the_least_sum_of_weighted_squares(order: int) -> None:
    target = random_target(6, seed=order)
    sections = sections_of(random_bank(6, order, seed=order, largest=0.9).poles)
    value = evaluate_weighted(target.moments(), sections).value.numpy()
    expected = brute_force(target, sections)
    assert (value >= expected * (1 - 1e-9)).all()
    np.testing.assert_allclose(value, expected, rtol=1e-6)


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("order", [1, 4, 5])
def test_fitted_bank_has_that_error(order: int) -> None:
    target = random_target(6, seed=order)
    sections = sections_of(random_bank(6, order, seed=order, largest=0.9).poles)
    bank = fitted(target.moments(), sections)
    difference = target.response.numpy() - spectrum_of(response_of(bank, TAPS + 1))
    error = (target.weight.numpy() * np.abs(difference) ** 2).sum(-1)
    np.testing.assert_allclose(error, brute_force(target, sections), rtol=1e-6)
    torch.testing.assert_close(bank.poles, sections.poles(), rtol=0, atol=0)


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("order", [1, 2, 5, 6])
def test_gradient_agrees_with_finite_differences_of_the_brute_force_sum(order: int) -> None:
    target = random_target(6, seed=order)
    sections = sections_of(random_bank(6, order, seed=order, largest=0.9).poles)
    gradient = evaluate_weighted(target.moments(), sections).gradient.numpy()
    step, numerical = 1e-5, np.zeros_like(gradient)
    for j in range(order):
        along = torch.zeros(6, order, dtype=torch.float64)
        along[:, j] = step
        numerical[:, j] = (brute_force(target, sections.moved(along)) - brute_force(target, sections.moved(-along))) / (2 * step)
    scale = np.abs(numerical).max(-1, keepdims=True)
    assert (scale > 1e-3).all()
    np.testing.assert_allclose(gradient / scale, numerical / scale, atol=1e-3)


def test_residues_of_poles_that_nearly_meet_do_not_blow_up() -> None:
    target = random_target(3)
    poles = torch.tensor([[0.5 + 0.5j, 0.5 - 0.5j, 0.5 + 0.5000001j, 0.5 - 0.5000001j]] * 3, dtype=torch.complex128)
    bank = fitted(target.moments(), sections_of(poles))
    size = (target.moments().energy / target.weight.sum(-1)).sqrt()
    assert (bank.residues.abs().amax(-1) < 1e4 * size).all()
    # All the same the ridge costs next to nothing against a single pair.
    value = evaluate_weighted(target.moments(), sections_of(poles)).value.numpy()
    assert (value <= brute_force(target, sections_of(poles[:, :2])) * (1 + 1e-4)).all()


def test_blocks_of_channels_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    target, sections = random_target(7), sections_of(random_bank(7, 4, largest=0.9).poles)
    whole = evaluate_weighted(target.moments(), sections)
    monkeypatch.setattr("ssm2edge.calibration.weighted.BLOCK", 2 * 3 * 24)
    parts = evaluate_weighted(target.moments(), sections)
    for name in ("value", "gradient", "hessian"):
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name), rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("order", [1, 3, 4])
def test_white_weights_give_the_h2_error(order: int) -> None:
    system = random_bank(5, 8, seed=3, largest=0.95)
    length = TAPS + 1
    white = torch.ones(5, length + 1, dtype=torch.float64)
    target = target_of(system, Spectra(white, white.to(torch.complex128), length))
    poles = reduce_system(system, order, "balanced", TAPS).system.poles
    value = evaluate_weighted(target.moments(), sections_of(poles)).value
    # Weights have mean one over length + 1 frequencies, and Parseval's sum has 2 length of them.
    error = (value / (length + 1)).sqrt()
    best = with_best_outputs(system, poles, torch.ones_like(poles)[..., None], TAPS, ridge=0.0)
    torch.testing.assert_close(error, h2_error(system, best, TAPS), rtol=1e-5, atol=0)
    # The same, told in time: the best sums of exponentials on the taps.
    response = response_of(system, length)[:, 1:]
    for channel in range(5):
        columns = exponentials(poles[channel].numpy(), TAPS)[:, 1:]
        goal, matrix = response[channel].astype(complex), columns.T
        rest = goal - matrix @ np.linalg.lstsq(matrix, goal, rcond=1e-13)[0]
        assert float(error[channel]) == pytest.approx(np.linalg.norm(rest), rel=1e-4)


def test_fit_is_no_worse_than_any_start_and_stable() -> None:
    target = random_target(8)
    starts = [sections_of(random_bank(8, 3, seed=seed, largest=0.9).poles) for seed in range(3)]
    best = fit_poles(target.moments(), starts)
    errors = brute_force(target, best.sections)
    for start in starts:
        assert (errors <= brute_force(target, start) * (1 + 1e-6)).all()
    assert (best.sections.poles().abs() < 1).all()
    # Somewhere it had something to do.
    assert (errors < 0.99 * np.min([brute_force(target, start) for start in starts], axis=0)).any()
