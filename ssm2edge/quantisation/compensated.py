"""Rounding whose errors cancel in a layer's outputs, for the inputs that the layer gets.

With C the mean of x x^T over the inputs x of a matrix W, the outputs of a rounded matrix V err by tr (W - V) C (W - V)^T.
Columns are rounded one after another; what rounding one of them loses, those that are still free make up for as far as they can
(optimal brain surgery; Hassibi and Stork, 1993; for whole matrices: Frantar et al., "GPTQ", 2023).  Then each column in turn
takes the best values for those of all others.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ssm2edge.quantisation.steps import Steps

SWEEPS = 20
"""Passes over the columns, at most."""

DAMPING = 0.01
"""Added to the covariance, relative to its mean diagonal: inputs that the samples do not show."""


def compensated(matrix: Tensor, steps: Steps, covariance: Tensor) -> Tensor:
    """Round a matrix.

    Parameters
    ----------
    matrix
        ``(rows, columns)`` float64.
    steps
        The values it may have.
    covariance
        ``(columns, columns)`` float64.

    Returns
    -------
    Tensor
        Of the steps' values; never worse than the nearest ones.
    """
    nearest = steps.nearest(matrix)
    energy = covariance.diagonal()
    mean = float(energy.mean())
    if mean <= 0:
        return nearest
    damped = covariance + DAMPING * mean * torch.eye(len(energy), dtype=covariance.dtype)
    # Loud columns first: what they lose can be made up for by many.
    order = torch.argsort(energy, descending=True)
    inverse = torch.linalg.inv(damped[order][:, order])
    factor = torch.linalg.cholesky((inverse + inverse.mT) / 2).mT
    left, rounded = matrix[:, order].clone(), torch.empty_like(matrix)
    for place, column in enumerate(order.tolist()):
        value = steps.nearest_in(column, left[:, place])
        rounded[:, column] = value
        lost = (left[:, place] - value) / factor[place, place]
        left[:, place:] -= lost[:, None] * factor[place, place:]
    _descend(matrix, rounded, steps, damped)
    worse = _errors(matrix - rounded, damped) > _errors(matrix - nearest, damped)
    return torch.where(worse[:, None], nearest, rounded)


def _descend(matrix: Tensor, rounded: Tensor, steps: Steps, covariance: Tensor) -> None:
    """Improve rounded numbers column by column, in place: the error falls with every change."""
    slopes = (matrix - rounded) @ covariance
    for _ in range(SWEEPS):
        moved = False
        for column in range(matrix.shape[1]):
            wanted = rounded[:, column] + slopes[:, column] / covariance[column, column]
            value = steps.nearest_in(column, wanted)
            change = value - rounded[:, column]
            if bool(change.any()):
                slopes -= change[:, None] * covariance[column]
                rounded[:, column] = value
                moved = True
        if not moved:
            return


def _errors(difference: Tensor, covariance: Tensor) -> Tensor:
    return ((difference @ covariance) * difference).sum(-1)
