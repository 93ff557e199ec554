"""The fresh initialisation: real, small and trainable, quadratic outputs included."""

from __future__ import annotations

import pytest
import torch

from ssm2edge.reduction import reduce_system
from ssm2edge.systems.dense import DenseSystem, to_dense, to_modal


@pytest.mark.parametrize("order", [1, 2, 5, 8])
def test_quadratic_outputs_start_as_real_symmetric_forms_of_full_rank(order: int) -> None:
    generator = torch.Generator().manual_seed(order)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    A = torch.diag(torch.linspace(0.2, 0.9, 12, dtype=torch.float64)) + 0.05 * normal(12, 12)
    M = normal(3, 12, 12)
    system = to_modal(DenseSystem(A, normal(12, 2), normal(3, 12), normal(3, 2), M + M.mT))
    fresh = to_dense(reduce_system(system, order, "hippo", 50).system).M
    assert fresh is not None
    assert fresh.shape == (3, order, order)
    torch.testing.assert_close(fresh, fresh.mT)
    # No output's form is degenerate: there is a way out of it in every direction.
    assert (torch.linalg.matrix_rank(fresh) == order).all()
