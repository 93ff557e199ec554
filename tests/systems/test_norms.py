"""Norms equal the brute-force sums over impulse responses and second-order kernels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ssm2edge.systems.dense import DenseSystem, to_modal
from ssm2edge.systems.norms import h2_error, h2_norm, hankel_singular_values
from ssm2edge.systems.system import System, siso_bank

LONG = 3000  # 0.95^3000 is below 1e-66: as good as infinite


def random_dense(seed: int, n: int, m: int, p: int, quadratic: bool) -> DenseSystem:
    """Real matrices with spectral radius 0.95."""
    generator = np.random.default_rng(seed)
    A = generator.standard_normal((n, n))
    A *= 0.95 / np.abs(np.linalg.eigvals(A)).max()
    M = generator.standard_normal((p, n, n))
    parts = [A, generator.standard_normal((n, m)), generator.standard_normal((p, n)), generator.standard_normal((p, m))]
    return DenseSystem(*(torch.tensor(x) for x in parts), M=torch.tensor(M + M.transpose(0, 2, 1)) if quadratic else None)


def kernels(dense: DenseSystem, taps: int) -> tuple[np.ndarray, np.ndarray | None]:
    """h[k] = C A^k B, (taps, p, m), and w[i][k m + a, l m + b] = B^T (A^k)^T M_i A^l B, (p, taps m, taps m)."""
    states = [dense.B.numpy()]
    for _ in range(taps - 1):
        states.append(dense.A.numpy() @ states[-1])
    stacked = np.stack(states)
    linear = dense.C.numpy() @ stacked
    if dense.M is None:
        return linear, None
    columns = np.concatenate(states, axis=1)
    return linear, columns.T @ dense.M.numpy() @ columns


def energy(D: np.ndarray, linear: np.ndarray, quadratic: np.ndarray | None) -> float:
    return float((D**2).sum() + (linear**2).sum() + (0 if quadratic is None else (quadratic**2).sum()))


@pytest.mark.parametrize("quadratic", [False, True])
@pytest.mark.parametrize("horizon", [7, 1000, None])
@pytest.mark.parametrize(("n", "m", "p"), [(6, 1, 1), (5, 2, 3)])
def test_norm_equals_brute_force_kernel_sum(n: int, m: int, p: int, horizon: int | None, quadratic: bool) -> None:
    dense = random_dense(n + m, n, m, p, quadratic)
    taps = horizon or (LONG if not quadratic else 1200 // m)
    expected = np.sqrt(energy(dense.D.numpy(), *kernels(dense, min(taps, 1200 // m if quadratic else taps))))
    # With quadratic outputs 600 taps hold everything to 0.95^1200 = 2e-27.
    assert float(h2_norm(to_modal(dense), horizon)) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("quadratic", [False, True])
@pytest.mark.parametrize("horizon", [7, None])
def test_error_equals_brute_force_kernel_difference(horizon: int | None, quadratic: bool) -> None:
    large, small = random_dense(1, 6, 2, 2, quadratic), random_dense(2, 3, 2, 2, quadratic)
    first, second = (kernels(x, horizon or 600) for x in (large, small))
    w = None if first[1] is None or second[1] is None else first[1] - second[1]
    expected = np.sqrt(energy((large.D - small.D).numpy(), first[0] - second[0], w))
    assert float(h2_error(to_modal(large), to_modal(small), horizon)) == pytest.approx(expected, rel=1e-10)


def test_error_of_a_system_with_itself_is_rounding() -> None:
    system = to_modal(random_dense(3, 8, 1, 1, False))
    assert float(h2_error(system, system, 100) / h2_norm(system, 100)) < 1e-7


def test_batches_agree_with_single_systems() -> None:
    singles = [to_modal(random_dense(seed, 6, 1, 1, False)) for seed in range(3)]
    batch = System(*(torch.stack([getattr(s, name) for s in singles]) for name in ("poles", "B", "C", "D")))
    for horizon in (9, None):
        torch.testing.assert_close(h2_norm(batch, horizon), torch.stack([h2_norm(s, horizon) for s in singles]))


def test_hankel_values_are_the_singular_values_of_the_hankel_matrix() -> None:
    dense = random_dense(4, 5, 1, 1, False)
    taps = 600
    h = kernels(dense, 2 * taps)[0][:, 0, 0]
    hankel = h[np.arange(taps)[:, None] + np.arange(taps)]
    expected = np.linalg.svd(hankel, compute_uv=False)[:5]
    np.testing.assert_allclose(hankel_singular_values(to_modal(dense)).numpy(), expected, rtol=1e-6, atol=1e-9 * expected[0])


@pytest.mark.parametrize("angle", [1e-4, 1e-6, 3e-8])
def test_errors_survive_huge_residues_of_poles_that_nearly_meet(angle: float) -> None:
    # h[k] = 1.01 k 0.99^k all but: a pair on the way to a double real pole, with residues that cancel.
    taps = np.arange(784, dtype=np.longdouble)
    pole = 0.99 * np.exp(1j * angle)
    poles = torch.tensor([[pole, pole.conjugate()]], dtype=torch.complex128)
    residue = 0.505 * torch.tensor([[1 / (1j * angle), -1 / (1j * angle)]], dtype=torch.complex128)
    nothing = torch.zeros((1,), dtype=torch.float64)
    twin = siso_bank(torch.tensor([[0.99, 0.985]], dtype=torch.complex128), torch.tensor([[200.0, -200.0]]).to(poles), nothing)
    response = 1.01 * np.sin(angle * taps) / np.longdouble(angle) * np.longdouble(0.99) ** taps
    other = 200 * (np.longdouble(0.99) ** taps - np.longdouble(0.985) ** taps)
    expected = float(np.sqrt(((response - other) ** 2).sum()))
    assert float(h2_error(siso_bank(poles, residue, nothing), twin, 784)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("horizon", [50, 784])
def test_tiny_errors_on_a_horizon_are_not_lost_in_the_energies(horizon: int) -> None:
    large = to_modal(random_dense(6, 6, 2, 3, False))
    other = large.with_output(large.C * (1 + 1e-10), large.D)
    expected = 1e-10 * float((h2_norm(large, horizon).square() - large.D.square().sum()).sqrt())
    assert float(h2_error(large, other, horizon)) == pytest.approx(expected, rel=1e-5)
