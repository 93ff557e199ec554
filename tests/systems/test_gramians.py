"""Closed-form Gramians equal the solutions of their matrix equations, found by scipy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import solve_discrete_lyapunov

from ssm2edge.systems.dense import DenseSystem, real_basis, to_dense, to_modal
from ssm2edge.systems.gramians import controllability_gramian, observability_gramian, real_controllability_gramian
from ssm2edge.systems.system import System


def random_system(seed: int, n: int, m: int, p: int, quadratic: bool) -> System:
    """A stable real system with n states, from real dense matrices."""
    generator = np.random.default_rng(seed)
    A = generator.standard_normal((n, n))
    A *= 0.9 / np.abs(np.linalg.eigvals(A)).max()
    M = generator.standard_normal((p, n, n))
    parts = [A, generator.standard_normal((n, m)), generator.standard_normal((p, n)), generator.standard_normal((p, m))]
    symmetric = torch.tensor(M + M.transpose(0, 2, 1)) if quadratic else None
    return to_modal(DenseSystem(*(torch.tensor(x) for x in parts), M=symmetric))


def in_real_coordinates(gramian: torch.Tensor, system: System) -> np.ndarray:
    """x_real = U x, so a Gramian becomes U P U^H."""
    U = real_basis(system.poles)
    return (U @ gramian @ U.mH).numpy()


@pytest.mark.parametrize("quadratic", [False, True])
@pytest.mark.parametrize("horizon", [1, 7, 1000, None])
@pytest.mark.parametrize(("n", "m", "p"), [(6, 1, 1), (7, 2, 3), (1, 1, 2)])
def test_gramians_solve_the_windowed_stein_equations(n: int, m: int, p: int, horizon: int | None, quadratic: bool) -> None:
    system = random_system(n, n, m, p, quadratic)
    dense = to_dense(system)
    A, B, C = dense.A.numpy(), dense.B.numpy(), dense.C.numpy()
    S = np.linalg.matrix_power(A, horizon) if horizon else np.zeros_like(A)
    P = solve_discrete_lyapunov(A, B @ B.T - S @ B @ B.T @ S.T)
    np.testing.assert_allclose(real_controllability_gramian(system, horizon).numpy(), P, rtol=1e-9, atol=1e-10)
    R = C.T @ C
    if dense.M is not None:
        R = R + sum(M @ P @ M for M in dense.M.numpy())
    Q = solve_discrete_lyapunov(A.T, R - S.T @ R @ S)
    np.testing.assert_allclose(in_real_coordinates(controllability_gramian(system, horizon), system), P, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(
        in_real_coordinates(observability_gramian(system, horizon), system), Q, rtol=1e-9, atol=1e-10 * np.abs(Q).max()
    )


@pytest.mark.parametrize("n", [4, 5])
def test_gramians_of_a_batch_of_different_structures(n: int) -> None:
    """No, some or all poles real, side by side: each system gets the Gramian it has by itself."""
    generator = np.random.default_rng(n)
    turning = np.kron(np.eye(n // 2), np.array([[0.4, 0.6], [-0.6, 0.4]])) + np.zeros((1, 1))
    turning = np.pad(turning, (0, n % 2), constant_values=0) + np.diag(np.linspace(0.1, 0.2, n))
    A = np.stack([turning, np.diag(np.linspace(-0.8, 0.9, n)), np.triu(turning, 1) + np.diag(np.linspace(-0.5, 0.7, n))])
    A[2, -3:, -3:] = [[0.3, 0.5, 0], [-0.5, 0.3, 0], [0, 0, 0.8]]
    B = generator.standard_normal((3, n, 2))
    dense = DenseSystem(*(torch.tensor(x) for x in (A, B, np.ones((3, 1, n)), np.zeros((3, 1, 2)))))
    system = to_modal(dense)
    assert 0 < (system.poles.imag == 0).double().mean() < 1
    real = to_dense(system)
    for i, P in enumerate(real_controllability_gramian(system).numpy()):
        A_i, B_i = real.A[i].numpy(), real.B[i].numpy()
        np.testing.assert_allclose(P, solve_discrete_lyapunov(A_i, B_i @ B_i.T), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("bad", [0, -3, 2.5, True])
def test_senseless_horizons_are_refused(bad: object) -> None:
    with pytest.raises(ValueError, match="horizon"):
        controllability_gramian(random_system(0, 4, 1, 1, False), bad)  # type: ignore[arg-type]  # the point of the test
