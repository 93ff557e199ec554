"""Gains of matrices bound what the definition gives: block Toeplitz matrices, responses on dense grids, attained extremes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ssm2edge.bounds import BoundError, MatrixGains
from ssm2edge.bounds import matrix_gains as module
from ssm2edge.systems.dense import DenseSystem, to_modal
from ssm2edge.systems.system import System, from_real_part, reading_after
from tests.random_mimo import random_dense, random_mimo, taps_of

Array = NDArray[np.float64]
HORIZON = 40


def identity(size: int) -> torch.Tensor:
    return torch.eye(size, dtype=torch.float64)


def toeplitz_norm(taps: Array) -> float:
    """Norm of the operator on as many samples as there are taps."""
    count, outputs, inputs = taps.shape
    whole = np.zeros((count * outputs, count * inputs))
    for row in range(count):
        for column in range(row + 1):
            whole[row * outputs : (row + 1) * outputs, column * inputs : (column + 1) * inputs] = taps[row - column]
    return float(np.linalg.norm(whole, 2))


def responses(taps: Array, points: int = 4001) -> NDArray[np.complex128]:
    frequencies = np.linspace(0, np.pi, points)
    return np.einsum("kpm,fk->fpm", taps, np.exp(-1j * np.outer(frequencies, np.arange(len(taps)))))


def largest(response: NDArray[np.complex128]) -> float:
    return float(np.linalg.norm(response, 2, axis=(1, 2)).max())


@pytest.mark.parametrize(("order", "inputs", "outputs"), [(1, 1, 1), (2, 3, 1), (5, 3, 4), (12, 2, 5)])
def test_energy_gain_on_a_horizon_lies_between_the_operators_norm_and_just_above_the_response(
    order: int, inputs: int, outputs: int
) -> None:
    dense = random_dense(order, inputs, outputs, seed=order, radius=0.98)
    taps = taps_of(dense, HORIZON + 1)
    bound = MatrixGains(to_modal(dense), HORIZON).energy(identity(inputs))
    assert toeplitz_norm(taps) <= bound
    assert largest(responses(taps)) <= bound <= 1.02 * largest(responses(taps))


def test_inputs_of_a_shape_are_a_system_of_their_own() -> None:
    dense, shape = (
        random_dense(6, 3, 4, seed=1),
        torch.randn(3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)),
    )
    whole = MatrixGains(to_modal(dense), HORIZON)
    fed = responses(taps_of(DenseSystem(dense.A, dense.B @ shape, dense.C, dense.D @ shape), HORIZON + 1))
    assert largest(fed) <= whole.energy(shape) <= 1.02 * largest(fed)
    rows = np.linalg.norm(fed, axis=2).max(0)
    assert (rows <= whole.row_energies(shape).numpy()).all()
    assert (whole.row_energies(shape).numpy() <= 1.02 * rows).all()


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 9), st.integers(0, 10**6), st.sampled_from([0.3, 0.9, 0.999]), st.booleans())
def test_no_response_between_the_grids_frequencies_exceeds_the_gain_of_all_taps(
    order: int, seed: int, radius: float, after: bool
) -> None:
    generator = np.random.default_rng(seed)
    modulus = radius * generator.uniform(0, 1, order) ** 0.1
    poles = torch.from_numpy(modulus * np.exp(1j * generator.uniform(0, np.pi, order)))
    B, C = (torch.view_as_complex(torch.from_numpy(generator.standard_normal((*s, 2)))) for s in ((order, 2), (2, order)))
    layer = from_real_part(poles, B, C, torch.diag(torch.from_numpy(generator.standard_normal(2))))
    system = reading_after(layer) if after else layer
    bound = MatrixGains(system, None).energy(identity(2))
    # By the definition, on a dense grid that is finest where the poles are.
    near = (poles.angle()[:, None] + (1 - poles.abs())[:, None] * torch.linspace(-4, 4, 401)).flatten()
    z = torch.exp(1j * torch.cat((near, torch.linspace(0, np.pi, 3001, dtype=torch.float64))))[:, None]
    lag = torch.ones_like(z) if not after else z
    seen = torch.einsum("pn,fn,nm->fpm", layer.C, lag / (z - layer.poles), layer.B) + layer.D
    worst = float(torch.linalg.matrix_norm(seen, 2).max())
    assert worst <= bound <= 1.03 * worst


def test_poles_at_zero_and_no_poles_are_covered() -> None:
    one = identity(1)
    delay = DenseSystem(0 * one, one, one, one)
    # 1 + z^-1 is 2 at frequency zero.
    for horizon in (1, 5, None):
        assert 2 <= MatrixGains(to_modal(delay), horizon).energy(one) <= 2.04
    nothing = System(
        torch.zeros(0, dtype=torch.complex128),
        torch.zeros(0, 2, dtype=torch.complex128),
        torch.zeros(2, 0, dtype=torch.complex128),
        3 * identity(2),
    )
    assert MatrixGains(nothing, None).energy(identity(2)) == pytest.approx(3)


def test_horizons_too_long_for_their_grid_are_bounded_by_all_taps(monkeypatch: pytest.MonkeyPatch) -> None:
    system = random_mimo(6, 3, 3, seed=2, radius=0.95)
    sharp = MatrixGains(system, HORIZON).energy(identity(3))
    monkeypatch.setattr(module, "MOST_PRODUCTS", 1)
    long = MatrixGains(system, HORIZON).energy(identity(3))
    assert long == MatrixGains(system, None).energy(identity(3))
    assert toeplitz_norm(taps_of(random_dense(6, 3, 3, seed=2, radius=0.95), HORIZON + 1)) <= min(sharp, long)


def test_peaks_and_magnitudes_are_attained() -> None:
    dense = random_dense(5, 3, 2, seed=3)
    taps, system = taps_of(dense, HORIZON + 1), MatrixGains(to_modal(dense), HORIZON)
    for row in range(2):
        aligned = taps[::-1, row] / np.linalg.norm(taps[::-1, row], axis=1, keepdims=True)
        reached = float((taps[:, row] * aligned[::-1]).sum())
        assert float(system.peaks(identity(3))[row]) == pytest.approx(reached, rel=1e-8)
        signs = np.sign(taps[::-1, row])
        assert float(system.magnitudes()[row].sum()) == pytest.approx(float((taps[:, row] * signs[::-1]).sum()), rel=1e-8)
    assert system.h2(identity(3)) == pytest.approx(np.linalg.norm(taps), rel=1e-8)
    step = np.cumsum(taps @ np.ones((3, 1)), axis=0)
    assert (np.abs(step).max(0)[:, 0] <= system.peaks(torch.ones(3, 1, dtype=torch.float64)).numpy()).all()


def test_sums_over_all_taps_cover_those_that_are_not_computed() -> None:
    dense = random_dense(4, 2, 3, seed=4, radius=0.9995)
    taps, system = taps_of(dense, 60_000), MatrixGains(to_modal(dense), None)
    assert (np.linalg.norm(taps, axis=2).sum(0) <= system.peaks(identity(2)).numpy()).all()
    assert (np.abs(taps).sum(0) <= system.magnitudes().numpy()).all()
    assert (system.peaks(identity(2)).numpy() <= 1.01 * np.linalg.norm(taps, axis=2).sum(0)).all()


def test_gains_of_a_difference_are_those_of_the_subtracted_taps() -> None:
    one, other = random_dense(8, 3, 3, seed=5), random_dense(3, 3, 3, seed=6)
    taps = taps_of(one, HORIZON + 1) - taps_of(other, HORIZON + 1)
    error = MatrixGains(to_modal(one) - to_modal(other), HORIZON)
    assert toeplitz_norm(taps) <= error.energy(identity(3)) <= 1.02 * largest(responses(taps))
    assert error.h2(identity(3)) == pytest.approx(np.linalg.norm(taps), rel=1e-7)


def test_unstable_systems_are_refused() -> None:
    with pytest.raises(BoundError, match="stable"):
        MatrixGains(random_mimo(3, 2, 2, radius=1.01), 10)
