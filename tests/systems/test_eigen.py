"""Eigenvalues are found where LAPACK's iteration does not converge at first."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from ssm2edge.systems.dense import DenseSystem, to_modal
from ssm2edge.systems.eigen import eigenpairs, eigenvalues
from ssm2edge.systems.response import impulse_response


def matrices() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    A = torch.randn(3, 6, 6, dtype=torch.float64, generator=generator)
    A[1] = torch.diag(10.0 ** torch.arange(6.0)).double() @ A[1] @ torch.diag(10.0 ** -torch.arange(6.0)).double()
    return A / torch.linalg.eigvals(A).abs().amax(-1)[:, None, None] * 0.9


def failing(monkeypatch: pytest.MonkeyPatch, refused: int) -> None:
    """Let LAPACK fail for whole batches, and for so many first calls with one matrix."""
    eig, calls = torch.linalg.eig, [0]

    def fragile(A: Tensor) -> tuple[Tensor, Tensor]:
        if A.ndim == 2:
            calls[0] += 1
        if A.ndim > 2 or calls[0] <= refused:
            raise torch.linalg.LinAlgError("the algorithm failed to converge")
        return eig(A)  # type: ignore[no-any-return]  # torch ships no type for it

    monkeypatch.setattr(torch.linalg, "eig", fragile)
    monkeypatch.setattr(torch.linalg, "eigvals", fragile)


@pytest.mark.parametrize("refused", [0, 1, 2, 5])
def test_pairs_are_eigenpairs_however_often_the_iteration_fails(monkeypatch: pytest.MonkeyPatch, refused: int) -> None:
    A = matrices()
    expected = np.sort_complex(np.linalg.eigvals(A.numpy()))
    failing(monkeypatch, refused)
    values, vectors = eigenpairs(A)
    np.testing.assert_allclose(np.sort_complex(values.numpy()), expected, rtol=0, atol=1e-6)
    residual = A.to(vectors) @ vectors - vectors * values[:, None]
    assert float(residual.abs().max()) < 1e-6 * float(A.abs().max())
    np.testing.assert_allclose(np.sort_complex(eigenvalues(A).numpy()), expected, rtol=0, atol=1e-6)


def test_modal_forms_survive_failing_iterations(monkeypatch: pytest.MonkeyPatch) -> None:
    A = matrices()
    B, C, D = (torch.ones(shape, dtype=torch.float64) for shape in ((3, 6, 1), (3, 1, 6), (3, 1, 1)))
    expected = impulse_response(to_modal(DenseSystem(A, B, C, D)), 20)
    failing(monkeypatch, 2)
    assert torch.allclose(impulse_response(to_modal(DenseSystem(A, B, C, D)), 20), expected, atol=1e-8)


def test_matrices_without_computable_eigenvalues_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    A = matrices()
    failing(monkeypatch, 10**6)
    with pytest.raises(ValueError, match="of 6 states cannot be computed"):
        eigenpairs(A)
