"""Systems from impulse responses: exact where a system made them, honest where none can."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.linalg
import scipy.signal
import torch
from numpy.typing import NDArray

from ssm2edge.systems.hankel import hankel_of, leading_triplets
from ssm2edge.systems.realisation import Realisation, realise
from ssm2edge.systems.response import impulse_response, simulate
from tests.random_banks import filtered_by, random_bank, response_of

EXACT = 1e-9
"""Tolerance far below what a float32 forward could show."""


def bank_taps(response: NDArray[np.float64]) -> torch.Tensor:
    return torch.from_numpy(response)[:, None, None]


def random_matrices(states: int, inputs: int, outputs: int, seed: int) -> tuple[NDArray[np.float64], ...]:
    generator = np.random.default_rng(seed)
    A = generator.standard_normal((states, states))
    A *= 0.93 / np.abs(np.linalg.eigvals(A)).max()
    sizes = ((states, inputs), (outputs, states), (outputs, inputs))
    return A, *(generator.standard_normal(size) for size in sizes)


def response_by_scipy(matrices: tuple[NDArray[np.float64], ...], length: int) -> NDArray[np.float64]:
    """``[p, m, length]`` of dense matrices."""
    _, responses = scipy.signal.dimpulse((*matrices, 1.0), n=length)
    return np.stack([response.T for response in responses], axis=1)


def relative(actual: NDArray[np.float64], expected: NDArray[np.float64]) -> float:
    return float(np.abs(actual - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("order", [1, 2, 5, 8])
def test_banks_are_recovered_from_their_responses(order: int) -> None:
    bank = random_bank(6, order, seed=order)
    realised = realise(bank_taps(response_of(bank, 300)), EXACT)
    assert realised.system.order == order
    assert (realised.repaired == 0).all()
    # Ten times as far as it has seen, it still is the same system.
    assert relative(response_of(realised.system, 3000), response_of(bank, 3000)) < 1e-8


def test_channels_need_not_need_the_same_number_of_states() -> None:
    few, many = random_bank(3, 2, seed=1), random_bank(3, 9, seed=2)
    response = np.concatenate([response_of(few, 200), response_of(many, 200), np.zeros((1, 200))])
    realised = realise(bank_taps(response), EXACT)
    assert realised.system.order == 9
    assert relative(response_of(realised.system, 200), response) < 1e-8
    assert float(realised.error[-1]) == float(realised.relative_error[-1]) == 0
    assert int((realised.system.residues[:3].abs() > 1e-9).sum()) == 6


@pytest.mark.parametrize(("inputs", "outputs"), [(3, 2), (1, 4), (4, 1), (5, 5)])
def test_many_inputs_and_outputs_are_recovered(inputs: int, outputs: int) -> None:
    matrices = random_matrices(7, inputs, outputs, seed=inputs)
    realised = realise(torch.from_numpy(response_by_scipy(matrices, 240)), EXACT)
    assert (realised.system.order, realised.system.inputs, realised.system.outputs) == (7, inputs, outputs)
    u = np.random.default_rng(0).standard_normal((inputs, 500))
    _, expected, _ = scipy.signal.dlsim((*matrices, 1.0), u.T)
    actual, _ = simulate(realised.system, torch.from_numpy(u))
    assert relative(actual.numpy().T, expected) < 1e-8


def test_the_same_response_has_the_same_system_to_the_bit() -> None:
    response = torch.from_numpy(response_by_scipy(random_matrices(7, 2, 3, seed=0), 64))
    first = realise(response).system
    for _ in range(20):
        again = realise(response).system
        assert all(torch.equal(one, other) for one, other in zip(again.arrays(), first.arrays(), strict=True))


def test_errors_told_are_those_of_the_responses_and_of_filtering() -> None:
    generator = np.random.default_rng(3)
    response = generator.standard_normal((4, 400)) * np.exp(-np.arange(400) / 60)
    realised = realise(bank_taps(response), largest_order=24)
    difference = response_of(realised.system, 400) - response
    energies = np.sqrt((difference**2).sum(-1))
    assert realised.system.order == 24
    assert np.allclose(realised.error, energies, rtol=1e-9)
    assert np.allclose(realised.relative_error, energies / np.sqrt((response**2).sum(-1)), rtol=1e-9)
    assert np.isclose(realised.total, np.linalg.norm(difference) / np.linalg.norm(response), rtol=1e-9)
    # Noise is nothing that 24 states could make, and the result does not pretend it.
    assert 0.3 < realised.total < 1
    # The error told is the worst that an input of unit energy does to a single sample, and no input does more.
    u = generator.standard_normal((1, 4, 400)).astype(np.float32)
    gap = filtered_by(response_of(realised.system, 400), u) - filtered_by(response, u)
    assert (np.abs(gap[0]).max(-1) <= energies * np.linalg.norm(u[0], axis=-1)).all()


def test_more_states_leave_less() -> None:
    response = np.random.default_rng(4).standard_normal((3, 300)) * np.exp(-np.arange(300) / 40)
    errors = [realise(bank_taps(response), largest_order=order).total for order in (4, 16, 64, 128)]
    assert all(later < 0.95 * earlier for earlier, later in itertools.pairwise(errors))


@pytest.mark.parametrize("length", [64, 100])
def test_short_noise_is_realised_with_as_many_states_as_taps(length: int) -> None:
    response = np.random.default_rng(length).standard_normal((3, length))
    realised = realise(bank_taps(response))
    assert float(realised.relative_error.max()) < 1e-3
    assert float(realised.system.poles.abs().max()) < 1


def smooth_windows(length: int) -> NDArray[np.float64]:
    """Sums of slow sines that have hardly decayed at their end, as implicit filters are."""
    time = np.arange(length) / length
    rates = np.array([0.2, 1.0, 3.0])[:, None]
    return np.exp(-rates * time) * (np.sin(9 * time + 1) + np.sin(23 * time**1.5) + 0.3 * time**2)


def test_responses_cut_off_while_they_last_become_stable_systems() -> None:
    response = smooth_windows(512)
    realised = realise(bank_taps(response))
    assert float(realised.system.poles.abs().max()) < 1
    assert float(realised.relative_error.max()) < 1e-5


def test_growing_responses_are_repaired_and_said_to_be() -> None:
    growing = 1.004 ** np.arange(200)
    realised = realise(bank_taps(np.stack([growing, 0.9 ** np.arange(200)])))
    assert float(realised.system.poles.abs().max()) < 1
    assert int(realised.repaired[0]) > 0
    assert int(realised.repaired[1]) == 0
    difference = response_of(realised.system, 200)[0] - growing
    assert np.isclose(float(realised.error[0]), np.linalg.norm(difference), rtol=1e-9)


def test_integrators_are_brought_inside_the_circle() -> None:
    realised = realise(bank_taps(np.stack([np.ones(100), np.cos(0.3 * np.arange(100))])))
    assert float(realised.system.poles.abs().max()) < 1
    # Rounding decides on which side of the circle the poles are found.
    assert float(realised.relative_error.max()) < 1e-2


def test_modes_stay_small_enough_for_float32() -> None:
    """Poles that nearly meet, whose exact residues cancel, are not given residues that a device could not add up."""
    poles = np.array([0.9, 0.9 + 1e-6])
    weights = np.array([1e6, -1e6])
    response = (weights * poles ** np.arange(300)[:, None]).sum(-1)[None]
    realised = realise(bank_taps(response))
    float32 = realised.system.residues.to(torch.complex64).to(torch.complex128)
    rounded = np.concatenate([[0.0], (float32.numpy() * realised.system.poles.numpy() ** np.arange(299)[:, None]).sum(-1).real])
    rounded[0] = response[0, 0]
    assert relative(rounded[None], response) < 1e-3
    assert float(realised.relative_error.max()) < 1e-3


@pytest.mark.parametrize(("outputs", "inputs", "taps"), [(1, 1, 40), (1, 1, 41), (3, 2, 30), (1, 4, 17)])
def test_hankel_products_and_singular_values_are_those_of_the_matrix(outputs: int, inputs: int, taps: int) -> None:
    g = np.random.default_rng(5).standard_normal((outputs, inputs, taps))
    hankel = hankel_of(torch.from_numpy(g)[None])
    rows, columns = hankel.rows, hankel.columns
    matrix = np.zeros((outputs, rows, inputs, columns))
    for i in range(outputs):
        for j in range(inputs):
            matrix[i, :, j] = scipy.linalg.hankel(g[i, j, :rows], g[i, j, rows - 1 :])
    X = np.random.default_rng(6).standard_normal((inputs, 3, columns))
    expected = np.einsum("irjc,jwc->iwr", matrix, X)
    assert np.allclose(hankel.times(torch.from_numpy(X)[None])[0], expected, atol=1e-12)
    back = np.einsum("irjc,iwr->jwc", matrix, expected)
    assert np.allclose(hankel.transposed_times(torch.from_numpy(expected)[None])[0], back, atol=1e-11)
    triplets = leading_triplets(hankel, 400)
    full = np.linalg.svd(matrix.reshape(outputs * rows, -1), compute_uv=False)
    assert np.allclose(triplets.values[0], full, atol=1e-10)


def test_leading_singular_values_are_found_without_the_rest() -> None:
    bank = random_bank(2, 40, seed=7, largest=0.99)
    response = response_of(bank, 500)
    triplets = leading_triplets(hankel_of(bank_taps(response)[..., 1:]), 20)
    for values, taps in zip(triplets.values, response, strict=True):
        full = np.linalg.svd(scipy.linalg.hankel(taps[1:251], taps[250:]), compute_uv=False)
        assert np.allclose(values[:12], full[:12], rtol=1e-3)


@pytest.mark.parametrize("response", [torch.zeros(1, 1, 2), torch.zeros(4, 9), torch.full((1, 1, 9), float("nan"))])
def test_what_is_no_response_is_refused(response: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"taps|NaN"):
        realise(response)


def test_nothing_depends_on_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    response = bank_taps(response_of(random_bank(5, 6, seed=8), 150))
    together: Realisation = realise(response, EXACT)
    monkeypatch.setattr("ssm2edge.systems.realisation.CHUNK_BYTES", 1)
    apart = realise(response.reshape(5, 1, 1, 1, 150), EXACT)
    assert apart.system.batch_shape == (5, 1)
    assert torch.allclose(apart.system.poles[:, 0], together.system.poles, atol=1e-9)
    assert torch.equal(apart.repaired[:, 0], together.repaired)


def test_slow_responses_that_are_cut_off_take_no_more_states_than_made_them() -> None:
    """In float32 their plain realisations have poles outside the circle, and stable ones took two and a half times as many."""
    generator = np.random.default_rng(2)
    modulus, angle = generator.uniform(0.9, 0.999, (6, 8)), generator.uniform(0, 0.3, (6, 8))
    residues = generator.standard_normal((6, 8)) + 1j * generator.standard_normal((6, 8))
    poles = modulus * np.exp(1j * angle)
    taps = np.stack([2 * (residues * poles**k).sum(-1).real for k in range(64)], -1).astype(np.float32).astype(np.float64)
    realised = realise(bank_taps(taps))
    assert realised.system.order <= 16
    assert (realised.relative_error < 1e-5).all()
    assert float(realised.system.poles.abs().max()) < 1
    assert relative(response_of(realised.system, 64), taps) < 1e-5


def test_noise_of_float32_is_no_state() -> None:
    generator = np.random.default_rng(3)
    poles, residues = generator.uniform(0, 0.98, (5, 4)), generator.standard_normal((5, 4))
    taps = np.stack([(residues * poles**k).sum(-1) for k in range(32)], -1)
    taps += 1e-7 * np.abs(taps).max(-1, keepdims=True) * generator.standard_normal(taps.shape)
    assert realise(bank_taps(taps)).system.order <= 5


@pytest.mark.parametrize("noise", [1e-7, 3e-7, 1e-6])
def test_systems_of_many_inputs_take_the_states_that_made_them_however_their_taps_were_rounded(noise: float) -> None:
    taps = response_by_scipy(random_matrices(8, 12, 12, seed=4), 64)
    measured = taps + noise * np.abs(taps).max() * np.random.default_rng(5).standard_normal(taps.shape)
    realised = realise(torch.from_numpy(measured))
    assert realised.system.order == 8
    # Nearer to the system than what was measured of it.
    found = impulse_response(realised.system, 64).numpy()
    assert np.linalg.norm(found - taps) < np.linalg.norm(measured - taps)


def test_small_parts_of_a_response_above_rounding_keep_their_states() -> None:
    (A, B, C, D), small = random_matrices(4, 6, 6, seed=6), random_matrices(20, 6, 6, seed=7)
    taps = response_by_scipy((A, B, C, D), 96)
    taps += 1e-3 * response_by_scipy(small, 96)
    realised = realise(torch.from_numpy(taps))
    assert realised.system.order >= 24
    assert float(realised.relative_error) < 2e-5
