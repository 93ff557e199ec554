"""Eigenvalues of real matrices that are computed even where LAPACK's iteration does not converge at first."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray
from torch import Tensor

Pair = tuple[NDArray[np.complex128], NDArray[np.complex128]]

NUDGES = (0.0, 1e-15, 1e-13, 1e-11, 1e-9)
"""Perturbations that are tried in turn, relative to the matrix: the iteration takes another way, the eigenvalues hardly move."""


def eigenpairs(A: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvalues and eigenvectors of real matrices ``(*batch, n, n)``; complex ones come in exact pairs.

    Raises
    ------
    ValueError
        If a matrix has no eigenvalues that can be computed.
    """
    try:
        values, vectors = torch.linalg.eig(A)
        return values, vectors
    except RuntimeError:
        found = [_one(matrix.numpy(), torch.linalg.eig) for matrix in A.reshape(-1, *A.shape[-2:])]
    values, vectors = (torch.from_numpy(np.stack(parts)) for parts in zip(*found, strict=True))
    return values.reshape(A.shape[:-1]), vectors.reshape(A.shape)


def eigenvalues(A: Tensor) -> Tensor:
    """Return the eigenvalues of real matrices; as :func:`eigenpairs`."""
    try:
        values: Tensor = torch.linalg.eigvals(A)
    except RuntimeError:
        return eigenpairs(A)[0]
    return values


def _one(matrix: NDArray[np.float64], plain: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Pair:
    """Return the eigenpairs of one matrix: as it is, balanced, or moved by less than any reduction errs."""
    n = len(matrix)
    i = np.arange(n)
    scatter = np.cos(1 + 2.3 * i[:, None] + 0.7 * i + i[:, None] * i)
    size = np.abs(matrix).max(initial=0.0)
    for nudge in NUDGES:
        moved = matrix + nudge * size * scatter
        balanced, scaling = scipy.linalg.matrix_balance(moved)
        for candidate, back in ((moved, None), (balanced, scaling)):
            try:
                values, vectors = (x.numpy() for x in plain(torch.from_numpy(np.ascontiguousarray(candidate))))
            except RuntimeError:
                continue
            if back is not None:
                vectors = back @ vectors
                vectors = vectors / np.linalg.norm(vectors, axis=0)
            return values, vectors
    raise ValueError(f"the eigenvalues of a state matrix of {n} states cannot be computed.")
