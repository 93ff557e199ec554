"""Banks reduced for their inputs: no worse than any start, stable, better where it counts, and finite where nothing is heard."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ssm2edge.calibration.bank_spectrum import calibrated_bank, target_of
from ssm2edge.calibration.spectra import Spectra
from ssm2edge.reduction import reduce_system
from ssm2edge.systems.system import System
from tests.coloured_signals import coloured, least_weighted_error, spectrum_of
from tests.random_banks import filtered_by, random_bank, response_of
from tests.slow_cases import slow

LENGTH, CHANNELS = 40, 4


def spectra_of(u: np.ndarray, original: np.ndarray | None = None) -> Spectra:
    """Of inputs ``[samples, channels, time]``, and of what the original would have got."""
    U = spectrum_of(u)
    U_original = U if original is None else spectrum_of(original)
    cross = (U.conj() * U_original).mean(0)
    return Spectra(torch.from_numpy((np.abs(U) ** 2).mean(0)), torch.from_numpy(cross), u.shape[-1])


def bank(seed: int = 0) -> System:
    return random_bank(CHANNELS, 8, seed=seed, largest=0.95)


def plain(system: System, order: int, method: str = "gradient") -> System:
    return reduce_system(system, order, method, LENGTH).system


@pytest.mark.parametrize("order", [slow(1), 2, slow(3), slow(5)])
def test_weighted_error_is_no_larger_than_any_starts_with_its_best_outputs(order: int) -> None:
    system, spectra = bank(), spectra_of(coloured(30, CHANNELS, LENGTH))
    target = target_of(system, spectra)
    starts = [plain(system, order, method) for method in ("gradient", "balanced", "tlh2", "modal")]
    result = calibrated_bank(system, starts[0], spectra)
    assert result.order == order
    assert float(result.poles.abs().max()) < 1
    response, weight = target.response.numpy(), target.weight.numpy()
    error = (weight * np.abs(response - spectrum_of(response_of(result, LENGTH))) ** 2).sum(-1)
    slack = 1e-6 * target.moments().energy.numpy()
    for start in starts:
        poles = start.poles.numpy()
        least = [least_weighted_error(response[c], weight[c], poles[c], LENGTH - 1) for c in range(CHANNELS)]
        assert (error <= np.array(least) * (1 + 1e-3) + slack).all()


def test_output_error_on_coloured_inputs_is_smaller_than_the_h2_reductions() -> None:
    system = bank(1)
    result = calibrated_bank(system, plain(system, 3), spectra_of(coloured(64, CHANNELS, LENGTH)))
    fresh = coloured(64, CHANNELS, LENGTH, seed=9)
    wanted = filtered_by(response_of(system, LENGTH), fresh)
    errors = [np.square(filtered_by(response_of(x, LENGTH), fresh) - wanted).sum() for x in (result, plain(system, 3))]
    assert errors[0] < 0.7 * errors[1]


@pytest.mark.slow
def test_what_the_layers_below_changed_is_corrected() -> None:
    system = bank(2)
    original = coloured(64, CHANNELS, LENGTH)
    # The reduced network's layer gets half of what the original's does.
    result = calibrated_bank(system, plain(system, 6), spectra_of(original / 2, original))
    simple = calibrated_bank(system, plain(system, 6), spectra_of(original))
    response, doubled = response_of(result, LENGTH), 2 * response_of(simple, LENGTH)
    np.testing.assert_allclose(response, doubled, atol=1e-3 * np.abs(doubled).max())


def test_identical_inputs_ask_for_the_original_response() -> None:
    system = bank(3)
    target = target_of(system, spectra_of(coloured(10, CHANNELS, LENGTH)))
    np.testing.assert_allclose(target.response.numpy(), spectrum_of(response_of(system, LENGTH)), rtol=0, atol=1e-9)
    np.testing.assert_allclose(target.weight.numpy().mean(-1), 1.0, rtol=1e-12)


def test_silent_channels_stay_as_they_were_reduced_and_the_others_do_not_notice() -> None:
    system, u = bank(), coloured(30, CHANNELS, LENGTH)
    muted = u.copy()
    muted[:, 1] = 0
    start = plain(system, 3)
    whole, part = (calibrated_bank(system, start, spectra_of(x)) for x in (u, muted))
    for value in (part.poles, part.B, part.C, part.D):
        assert torch.isfinite(torch.view_as_real(value) if value.is_complex() else value).all()
    assert float(part.poles.abs().max()) < 1
    np.testing.assert_allclose(response_of(part, LENGTH)[1], response_of(start, LENGTH)[1], rtol=1e-12, atol=1e-12)
    others = [0, 2, 3]
    expected = response_of(whole, LENGTH)[others]
    np.testing.assert_allclose(response_of(part, LENGTH)[others], expected, rtol=1e-6, atol=1e-9)


@pytest.mark.slow
def test_inputs_of_a_single_frequency_give_finite_stable_systems() -> None:
    system = bank()
    time = np.arange(LENGTH)
    tone = np.cos(0.5 * time)[None, None].repeat(5, 0).repeat(CHANNELS, 1)
    constant = np.ones_like(tone)
    for u in (tone, constant, 1e-12 * tone, 1e12 * tone):
        result = calibrated_bank(system, plain(system, 3), spectra_of(u))
        assert np.isfinite(response_of(result, LENGTH)).all()
        assert float(result.poles.abs().max()) < 1
        wanted = filtered_by(response_of(system, LENGTH), u)
        error = np.linalg.norm(filtered_by(response_of(result, LENGTH), u) - wanted) / np.linalg.norm(wanted)
        assert error < 0.1


def test_a_bank_without_feedthrough_gets_none_and_its_outputs_are_the_best_without() -> None:
    system = bank(4)
    system = system.with_output(system.C, torch.zeros_like(system.D))
    spectra = spectra_of(coloured(30, CHANNELS, LENGTH))
    start = plain(system, 4)
    result = calibrated_bank(system, start, spectra)
    assert bool((result.D == 0).all())
    weighted = [float(weighted_error(system, x, spectra)) for x in (result, start)]
    assert weighted[0] < weighted[1]


def weighted_error(system: System, other: System, spectra: Spectra) -> np.floating:
    target = target_of(system, spectra)
    difference = np.abs(target.response.numpy() - spectrum_of(response_of(other, LENGTH))) ** 2
    return (target.weight.numpy() * difference).sum()
