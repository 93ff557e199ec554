"""Tied banks are reduced as one system and stay tied."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ssm2edge.reduction import reduce_system
from ssm2edge.reduction.tied import as_bank, as_one_system, is_tied, parameters, reduce_tied
from ssm2edge.systems.system import System, siso_bank
from tests.random_banks import random_bank, response_of

CHANNELS, ORDER, TAPS = 5, 9, 50


@pytest.fixture
def bank() -> System:
    """Channels of three pairs and three real poles, the same in each."""
    poles = random_bank(1, ORDER, seed=3, pairs=3).poles
    several = random_bank(CHANNELS, ORDER, seed=4, pairs=3)
    return siso_bank(poles.expand(CHANNELS, -1).contiguous(), several.residues, several.D[:, 0, 0])


def test_one_system_and_its_bank_have_the_same_impulse_responses(bank: System) -> None:
    again = as_bank(as_one_system(bank))
    np.testing.assert_allclose(response_of(again, TAPS), response_of(bank, TAPS), atol=1e-12)


@pytest.mark.parametrize("method", ["gradient", "balanced", "tlh2", "aire"])
@pytest.mark.parametrize("order", [1, 4, 5, ORDER])
def test_errors_are_those_of_the_kernels_summed_by_brute_force(bank: System, order: int, method: str) -> None:
    reduction = reduce_tied(bank, order, method, TAPS)
    assert reduction.system.order == order
    assert is_tied(reduction.system)
    difference = response_of(bank, TAPS + 1) - response_of(reduction.system, TAPS + 1)
    expected = np.linalg.norm(difference, axis=1)
    np.testing.assert_allclose(reduction.error.numpy(), expected, rtol=1e-5, atol=1e-6)
    scale = np.linalg.norm(response_of(bank, TAPS + 1), axis=1)
    np.testing.assert_allclose(reduction.relative_error.numpy(), expected / scale, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("order", [2, 4, 6])
def test_no_small_change_of_the_shared_poles_lowers_the_sum_of_squared_errors(bank: System, order: int) -> None:
    reduced = reduce_tied(bank, order, "gradient", TAPS).system
    expected = response_of(bank, TAPS + 1)[:, 1:].T

    def best(poles: torch.Tensor) -> float:
        # Residues are fitted anew by least squares on the taps.
        modes = torch.stack([poles[0] ** k for k in range(TAPS)]).numpy()
        columns = np.concatenate([modes.real, modes.imag], axis=1)
        fitted = columns @ np.linalg.lstsq(columns, expected, rcond=1e-12)[0]
        return float(((fitted - expected) ** 2).sum())

    reached = best(reduced.poles)
    for place in range(0, order, 2):
        for step in (1e-3, -1e-3, 1e-3j, -1e-3j):
            moved = reduced.poles.clone()
            if moved[0, place].imag == 0:
                moved[:, place] *= 1 + step.real
            else:
                moved[:, place] *= 1 + step
                moved[:, place + 1] *= 1 + np.conj(step)
            assert best(moved) >= reached * (1 - 1e-6)


def test_a_tied_bank_needs_fewer_numbers_than_the_same_order_channel_by_channel(bank: System) -> None:
    tied = reduce_tied(bank, 4, "gradient", TAPS).system
    untied = reduce_system(bank, 4, "gradient", TAPS).system
    assert parameters(tied) == 4 + CHANNELS * (4 + 1)
    assert parameters(untied) == CHANNELS * (2 * 4 + 1)
    # Untied, more numbers than the original had may be needed for fewer states.
    assert parameters(tied) < parameters(bank) < CHANNELS * (2 * (ORDER - 1) + 1)


def test_banks_with_poles_of_their_own_are_refused() -> None:
    with pytest.raises(ValueError, match="poles of their own"):
        reduce_tied(random_bank(3, 4), 2)
