"""Balanced singular perturbation: balance, then let the weak states settle at once instead of dropping them.

In balanced coordinates the weak states are replaced by their equilibrium, so that the gain at frequency zero is exact (Liu and
Anderson 1989, discrete form).  By block inversion only the strong directions T, W are needed: with E = (1 - A)^-1,

    1 - Ahat = (W^T E T)^-1       Bhat = (1 - Ahat) W^T E B
    Chat = C E T (1 - Ahat)       Dhat = D + C E B - Chat (1 - Ahat)^-1 Bhat

The feedthrough changes.  Quadratic outputs see the strong states and the equilibrium following them, not the input's share in it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ssm2edge.reduction.balanced import Balancing, balance, repaired, unit_input
from ssm2edge.reduction.contract import Reduction, summarise
from ssm2edge.systems.dense import DenseSystem, to_modal
from ssm2edge.systems.real_coordinates import times_diagonal
from ssm2edge.systems.system import System

SETTLING = 1e-12
"""Least distance of poles from one."""


def balanced_singular_perturbation(system: System, order: int, horizon: int | None) -> Reduction:
    """Reduce by balanced singular perturbation; time-limited Gramians on a finite horizon."""
    reduced, outcomes = perturbed(system, balance(system, order, horizon), horizon)
    return summarise(system, reduced, "singular_perturbation", horizon, outcomes)


def perturbed(system: System, balancing: Balancing, horizon: int | None) -> tuple[System, Tensor]:
    """Return the reduced systems and their outcomes."""
    T, W = balancing.T, balancing.W
    distance = 1 - balancing.poles
    # A mode on the circle at frequency zero never settles.
    settled = 1 / distance.where(distance.abs() > SETTLING, torch.full_like(distance, SETTLING))
    settled_T, settled_B = times_diagonal(settled, T), times_diagonal(settled, balancing.B)
    # W^T E T is invertible unless the Gramians are rounding there; the pseudo-inverse then drops those directions.
    gap = torch.linalg.pinv(W.mT @ settled_T)
    V = settled_T @ gap
    B, C = gap @ (W.mT @ settled_B), balancing.C @ V
    D = balancing.D + balancing.C @ settled_B - C @ (W.mT @ settled_B)
    M = None if balancing.M is None else V.mT[..., None, :, :] @ balancing.M @ V[..., None, :, :]
    A = torch.eye(gap.shape[-1], dtype=gap.dtype) - gap
    reduced = unit_input(to_modal(DenseSystem(A=A, B=B, C=C, D=D, M=M)))
    return repaired(system, reduced, horizon)
