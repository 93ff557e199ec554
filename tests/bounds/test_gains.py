"""Gains bound what the definition gives: Toeplitz matrices, responses on dense grids, and filtered signals."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ssm2edge.bounds import BoundError, error_gains, gains
from ssm2edge.systems.peak_gain import hinf_norm
from ssm2edge.systems.system import System
from tests.random_banks import filtered_by, random_bank, response_of

HORIZON = 59


def toeplitz_norms(response: np.ndarray) -> np.ndarray:
    length = response.shape[-1]
    norms = []
    for taps in response:
        matrix = sum(np.diag(np.full(length - k, tap), -k) for k, tap in enumerate(taps))
        norms.append(np.linalg.norm(matrix, 2))
    return np.array(norms)


def test_energy_gain_lies_between_the_operators_norm_and_just_above_the_response() -> None:
    system = random_bank(12, 9, seed=1, largest=0.995)
    response = response_of(system, HORIZON + 1)
    dense = np.abs(np.exp(-1j * np.outer(np.linspace(0, np.pi, 20001), np.arange(HORIZON + 1))) @ response.T).max(0)
    bound = gains(system, HORIZON).energy.numpy()
    assert (bound >= toeplitz_norms(response)).all()
    assert (bound >= dense).all()
    assert (bound <= 1.02 * dense).all()


def test_peak_gain_is_the_sum_of_magnitudes_and_is_attained() -> None:
    system = random_bank(6, 5, seed=2)
    response = response_of(system, HORIZON + 1)
    bound = gains(system, HORIZON).peak.numpy()
    worst = np.sign(response[:, ::-1]).astype(np.float32)[None]
    reached = np.abs(filtered_by(response, worst))[0, :, -1]
    np.testing.assert_allclose(bound, reached, rtol=1e-8)


def test_gains_of_a_difference_are_those_of_the_subtracted_responses() -> None:
    one, other = random_bank(8, 8, seed=3), random_bank(8, 3, seed=4)
    response = response_of(one, HORIZON + 1) - response_of(other, HORIZON + 1)
    bound = error_gains(one, other, HORIZON)
    np.testing.assert_allclose(bound.peak.numpy(), np.abs(response).sum(1), rtol=1e-8)
    np.testing.assert_allclose(bound.h2.numpy(), np.linalg.norm(response, axis=1), rtol=1e-7)
    assert (bound.energy.numpy() >= toeplitz_norms(response)).all()


def test_infinite_horizon_covers_the_taps_that_were_not_computed() -> None:
    system = random_bank(10, 6, seed=5, largest=0.999)
    bound = gains(system, None)
    exact = hinf_norm(system)
    assert (bound.energy >= exact).all()
    assert (bound.energy <= 1.03 * exact).all()
    assert (bound.peak.numpy() >= np.abs(response_of(system, 30000)).sum(1)).all()


def test_slow_modes_are_bounded_however_long_they_last() -> None:
    pole, residue = 1 - 1e-5, 1e-3
    slow = System(
        torch.tensor([[pole]], dtype=torch.complex128),
        torch.ones(1, 1, 1, dtype=torch.complex128),
        torch.full((1, 1, 1), residue, dtype=torch.complex128),
        torch.zeros(1, 1, 1, dtype=torch.float64),
    )
    assert float(gains(slow, None).energy) >= residue / (1 - pole)


def test_systems_without_a_bound_are_refused() -> None:
    unstable = random_bank(1, 2, seed=0)
    unstable = System(unstable.poles / unstable.poles.abs() * 1.01, unstable.B, unstable.C, unstable.D)
    with pytest.raises(BoundError, match="stable"):
        gains(unstable, 10)
    bank = random_bank(2, 2, seed=0)
    with pytest.raises(BoundError, match="SISO"):
        gains(bank[0], 10)
