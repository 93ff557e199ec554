"""MIMO and quadratic-output systems: projection, gradients and refinement."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ssm2edge.reduction import METHODS, Outcome, reduce_system
from ssm2edge.reduction.coupled import refine, squared_error
from ssm2edge.reduction.projection import with_best_outputs
from ssm2edge.reduction.quasi_newton import descend
from ssm2edge.systems.dense import DenseSystem, to_dense, to_modal
from ssm2edge.systems.norms import h2_error, h2_norm
from ssm2edge.systems.system import System, from_conjugate_half
from tests.slow_cases import slow

ROUNDING = 1e-9


def random_systems(batch: int, n: int, m: int, p: int, quadratic: bool, radius: float = 0.9, seed: int = 0) -> System:
    """Random real systems of the given spectral radius."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(batch, *shape, generator=generator, dtype=torch.float64)

    A = normal(n, n)
    A = A * radius / torch.linalg.eigvals(A).abs().amax(-1)[:, None, None]
    M = 0.3 * normal(p, n, n)
    return to_modal(DenseSystem(A, normal(n, m), normal(p, n), normal(p, m), M + M.mT if quadratic else None))


@pytest.mark.parametrize("quadratic", [False, True])
@pytest.mark.parametrize("horizon", [7, None])
def test_no_change_of_the_output_maps_improves_the_projection(horizon: int | None, quadratic: bool) -> None:
    system = random_systems(2, 8, 2, 3, quadratic)
    other = random_systems(2, 5, 2, 3, False, radius=0.8, seed=1)
    best = with_best_outputs(system, other.poles, other.B, horizon, ridge=0.0)
    error = h2_error(system, best, horizon)
    dense = to_dense(best)
    generator = torch.Generator().manual_seed(2)
    for _ in range(10):
        C = dense.C + 1e-3 * torch.randn(dense.C.shape, generator=generator, dtype=torch.float64)
        M = dense.M
        if M is not None:
            change = 1e-3 * torch.randn(M.shape, generator=generator, dtype=torch.float64)
            M = M + change + change.mT
        assert (h2_error(system, to_modal(DenseSystem(dense.A, dense.B, C, dense.D, M)), horizon) > error).all()


@pytest.mark.parametrize("quadratic", [False, True])
@pytest.mark.parametrize("horizon", [7, None])
def test_value_is_the_error_and_gradients_equal_finite_differences(horizon: int | None, quadratic: bool) -> None:
    system = random_systems(1, 8, 2, 3, quadratic)
    other = random_systems(1, 5, 2, 3, False, radius=0.8, seed=3)
    energy = h2_norm(system, horizon).square() - system.D.square().sum((-2, -1))

    def error(poles: torch.Tensor, B: torch.Tensor) -> float:
        return float(h2_error(system, with_best_outputs(system, poles, B, horizon, ridge=0.0), horizon).square())

    value, by_log_poles, by_B = squared_error(system, energy, other.poles, other.B, horizon, ridge=0.0)
    assert float(value) == pytest.approx(error(other.poles, other.B), rel=1e-9)
    step, paired = 1e-5, other.poles[0].imag != 0
    for j in range(5):
        if paired[j] and other.poles[0, j].imag < 0:
            continue
        # Real directions: a pair moves together with its conjugate.
        for direction in (1, 1j) if paired[j] else (1,):
            factor = torch.zeros(5, dtype=torch.complex128)
            factor[j] = direction
            if paired[j]:
                factor[j + 1] = factor[j].conj()
            slope = (by_log_poles[0] * factor).sum().real
            up, down = (error(other.poles * torch.exp(s * step * factor), other.B) for s in (1, -1))
            assert abs((up - down) / (2 * step) - float(slope)) < 1e-6 * float(by_log_poles.abs().max())
            for column in range(2):
                change = torch.zeros_like(other.B)
                change[0, :, column] = factor
                up, down = (error(other.poles, other.B + s * step * change) for s in (1, -1))
                slope = (by_B * change).sum().real
                assert abs((up - down) / (2 * step) - float(slope)) < 1e-6 * float(by_B.abs().max())


@pytest.mark.parametrize("quadratic", [False, True])
def test_refinement_begins_at_its_start(quadratic: bool) -> None:
    system, start = random_systems(3, 8, 3, 2, quadratic), random_systems(3, 5, 3, 2, False, radius=0.8, seed=1)
    begun = refine(system, start, 20, steps=0)
    expected = h2_error(system, with_best_outputs(system, start.poles, start.B, 20), 20)
    torch.testing.assert_close(begun.value.sqrt(), expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(h2_error(system, begun.system, 20), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("quadratic", [slow(False), True])
def test_the_fixed_point_on_the_infinite_horizon_leaves_little_to_refine(quadratic: bool) -> None:
    system = random_systems(8, 10, 2, 2, quadratic, seed=5)
    start = reduce_system(system, 4, "tlh2", None)
    settled = start.outcomes == 0
    refined = refine(system[settled], start.system[settled], None)
    assert (refined.iterations < 30).all()
    assert refined.converged.all()


@pytest.mark.parametrize("quadratic", [slow(False), True])
@pytest.mark.parametrize("horizon", [20, slow(None)])
@pytest.mark.parametrize("order", [1, slow(4), slow(5)])
def test_gradient_is_never_worse_than_any_other_method(order: int, horizon: int | None, quadratic: bool) -> None:
    system = random_systems(2, 12, 2, 2, quadratic, seed=order)
    refined = reduce_system(system, order, "gradient", horizon)
    assert refined.system.order == order
    assert (refined.spectral_radius < 1).all()
    torch.testing.assert_close(h2_error(system, refined.system, horizon), refined.error)
    for method in METHODS:
        other = reduce_system(system, order, method, horizon)
        assert (other.spectral_radius < 1).all(), method
        assert (refined.error <= other.error).all(), method


@pytest.mark.slow
@pytest.mark.parametrize("order", [2, 4, 8, 16, 32])
def test_gradient_is_best_on_trained_linear_recurrent_units(order: int) -> None:
    arrays = np.load(Path(__file__).parent / "data" / "linear_lru.npz")
    system = from_conjugate_half(*(torch.from_numpy(arrays[name]) for name in ("poles", "B", "C", "D")))
    assert system.order >= 64
    assert system.inputs == system.outputs == 16
    refined = reduce_system(system, order, "gradient", 512)
    assert (refined.outcomes != Outcome.FELL_BACK).all()
    for method in METHODS:
        other = reduce_system(system, order, method, 512)
        # Equal errors differ by their rounding.
        assert (refined.error <= other.error * (1 + ROUNDING)).all(), method
        # TLH2's fixed points are stationary on so long a horizon; every other method leaves something.
        if method not in ("gradient", "tlh2"):
            assert (refined.error < 0.999 * other.error).all(), method


def test_fixed_point_of_tlh2_is_stationary_on_the_infinite_horizon() -> None:
    for quadratic in (False, True):
        system = random_systems(8, 10, 2, 2, quadratic, seed=5)
        result = reduce_system(system, 4, "tlh2", None)
        settled = result.outcomes == 0
        assert settled.any()
        energy = h2_norm(system).square() - system.D.square().sum((-2, -1))
        _, by_log_poles, _ = squared_error(system, energy, result.system.poles, result.system.B, None, ridge=0.0)
        assert (by_log_poles[settled].abs().amax(-1) < 1e-4 * result.error[settled].square()).all()


def test_quadratic_outputs_of_a_system_that_needs_only_a_few_states_are_recovered() -> None:
    small = to_dense(random_systems(1, 3, 1, 2, True, seed=7))
    A = torch.block_diag(small.A[0], torch.tensor([[0.4]], dtype=torch.float64))[None]
    B = torch.cat((small.B, torch.zeros(1, 1, 1, dtype=torch.float64)), 1)
    C = torch.cat((small.C, torch.ones(1, 2, 1, dtype=torch.float64)), 2)
    M = torch.nn.functional.pad(small.M, (0, 1, 0, 1)) if small.M is not None else None
    result = reduce_system(to_modal(DenseSystem(A, B, C, small.D, M)), 3, "gradient", None)
    assert float(result.relative_error) < 1e-4


def test_descent_finds_the_minimum_of_each_rosenbrock_valley() -> None:
    centres = torch.tensor([1.0, 0.5, -0.7], dtype=torch.float64)

    def objective(x: torch.Tensor, where: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        c = centres[where]
        valley = x[:, 1] - x[:, 0] ** 2
        value = (c - x[:, 0]) ** 2 + 100 * valley**2 + 1
        return value, torch.stack((-2 * (c - x[:, 0]) - 400 * x[:, 0] * valley, 200 * valley), -1)

    end = descend(objective, torch.tensor([[-1.2, 1.0]] * 3, dtype=torch.float64), 200, 1e-14)
    torch.testing.assert_close(end.point[:, 0], centres, rtol=1e-4, atol=1e-4)
    assert (end.value < 1 + 1e-8).all()
