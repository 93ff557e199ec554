"""Few squares for many quadratic forms: ``x^T M_i x = sum_k W_ik (V_k x)^2`` with rows V_k shared by the outputs.

Four ways to find V and W: the first of the first two that holds is taken, unless one of the last two has fewer rows.

* The forms of a layer that squares q directions and mixes them are ``M_i = V^T diag(W_i) V``.  Every combination of them has this
  shape, so that the eigenvectors of ``N_a N_b^-1`` for two combinations are the rows of V (Jennrich's algorithm; Harshman, 1970).
  Projections of such forms keep the shape, with ``V T`` for V.
* With more squares than variables, as projections have, the rows of V are sought one by one: the matrices ``v v^T`` are those of
  rank one in the space that the forms span (the subspace power method; Kileel and Pereira, 2019, arXiv 1912.04007).
* Each form by its own eigenvectors: as many rows as all ranks together.
* All forms of n variables lie in the span of the n (n + 1) / 2 squares of ``x_i`` and ``x_i + x_j``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ssm2edge.systems.eigen import eigenpairs

NUMERICAL_RANK = 1e-7
"""Eigenvalues and remainders below this part of the largest are rounding of a model in float32."""

COMBINATIONS = 8
"""Pairs of combinations tried: some are worse conditioned than others."""

STARTS, ROUNDS = 4, 6
"""Starts for each square that is sought, and how often they are drawn: some squares are found from few starts."""

UPHILL, NEWTON = 60, 12
"""Steps of each start: those of the power method, then those of Gauss and Newton, which end in rounding."""

SEARCH = 1 << 28
"""Products of a step of all starts, at most: some seconds of one core."""

AT_ONCE = 32
"""Starts that share a step: their products stay in the cache of a processor."""

SHIFT = 0.5**0.5
"""Share of the last iterate with which the power method never goes downhill."""

OUTSIDE, APART = 1e-12, 1e-6
"""Squared part of ``v v^T`` outside of the space below which it lies inside, and one minus the cosine below which two are one."""

SINGULAR = 1e14
"""Condition from which a combination cannot be inverted in float64."""


def squares_of(M: Tensor) -> tuple[Tensor, Tensor]:
    """Write quadratic forms as sums of shared squares.

    Parameters
    ----------
    M
        ``(p, n, n)`` float64, symmetric slices, in coordinates of comparable size.

    Returns
    -------
    V, W
        ``(q, n)`` and ``(p, q)`` float64 with ``M_i = V^T diag(W_i) V`` up to ``NUMERICAL_RANK``; q is 0 for zero M.
    """
    outputs, n, _ = M.shape
    largest = float(torch.linalg.matrix_norm(M, ord=2).max()) if M.numel() else 0.0
    if largest == 0.0:
        return M.new_zeros(0, n), M.new_zeros(outputs, 0)
    eigenvalues, eigenvectors = torch.linalg.eigh(M)
    kept = eigenvalues.abs() > NUMERICAL_RANK * largest
    rank, products = int(kept.sum()), n * (n + 1) // 2
    shared = _shared_directions(M, largest) or _one_by_one(M, largest)
    if shared is not None and len(shared[0]) <= min(rank, products):
        return shared
    if rank >= products:
        return _all_squares(M)
    V = eigenvectors.mT[kept]
    W = M.new_zeros(outputs, rank)
    W[kept.nonzero()[:, 0], torch.arange(rank)] = eigenvalues[kept]
    return V, W


def _shared_directions(M: Tensor, largest: float) -> tuple[Tensor, Tensor] | None:
    """Run Jennrich's algorithm in the space that the forms reach; return None if they are not of that shape."""
    _, singular, basis = torch.linalg.svd(M.flatten(0, 1), full_matrices=False)
    basis = basis[singular > NUMERICAL_RANK * largest]
    reached = basis @ M @ basis.mT
    generator = torch.Generator().manual_seed(0)
    for _ in range(COMBINATIONS):
        first, second = torch.einsum("kp,pij->kij", torch.randn(2, len(M), generator=generator, dtype=M.dtype), reached)
        if torch.linalg.cond(second) > SINGULAR:
            continue
        # N_a N_b^-1 = V^T diag(W_a / W_b) V^-T: its eigenvectors are the columns of V^T.
        directions = eigenpairs(torch.linalg.solve(second.mT, first.mT).mT)[1]
        V = directions.real.mT @ basis
        W = _weights(M, V)
        remainder = torch.einsum("pq,qi,qj->pij", W, V, V) - M
        if float(remainder.abs().max()) <= NUMERICAL_RANK * largest:
            return V, W
    return None


def _one_by_one(M: Tensor, largest: float) -> tuple[Tensor, Tensor] | None:
    """Seek the matrices of rank one in the space that the forms span; return None if there are not as many as its dimension."""
    n = M.shape[-1]
    _, singular, space = torch.linalg.svd(M.flatten(1), full_matrices=False)
    space = space[singular > NUMERICAL_RANK * largest]
    q = len(space)
    # Larger spaces hold others than the rows of V, by their dimension alone.
    if q > n * (n - 1) // 2 or STARTS * (q * n) ** 2 > SEARCH:
        return None
    space, generator, found = space.reshape(q, n, n), torch.Generator().manual_seed(0), M.new_zeros(0, n)
    for _ in range(ROUNDS):
        starts = torch.randn(STARTS * q, n, generator=generator, dtype=M.dtype)
        met = torch.cat((found, *(_of_rank_one(space, some) for some in torch.split(starts, AT_ONCE))))
        known = (met @ met.mT).abs() > 1 - APART
        found = met[~known.tril(-1).any(-1)]
        if not len(found):
            return None
        if len(found) >= q:
            W = _weights(M, found)
            remainder = torch.einsum("pq,qi,qj->pij", W, found, found) - M
            fits = len(found) == q and float(remainder.abs().max()) <= NUMERICAL_RANK * largest
            return (found, W) if fits else None
    return None


def _of_rank_one(space: Tensor, starts: Tensor) -> Tensor:
    """Return unit vectors x whose ``x x^T`` lies in a space of matrices, each met from one of the starts; some meet none.

    The squared part of ``x x^T`` inside that space, over unit vectors x, has its maxima of one at these.
    """
    q, n, _ = space.shape
    rows, unit = space.flatten(0, 1), torch.eye(n, dtype=space.dtype)

    def inside(x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the products of all matrices of the space with each x, and the parts of ``x x^T`` along them."""
        products = (x @ rows.mT).reshape(-1, q, n)
        return products, (products * x[:, None]).sum(-1)

    def scaled(x: Tensor) -> Tensor:
        length: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        return x / length

    x = scaled(starts)
    for _ in range(UPHILL):
        products, parts = inside(x)
        x = scaled((parts[:, None] @ products)[:, 0] + SHIFT * x)
    for _ in range(NEWTON):
        products, parts = inside(x)
        outside = (1 - parts.square().sum(-1)).clamp_min(torch.finfo(x.dtype).eps)[:, None, None]
        curvature = (1 + outside) * unit + 2 * (x[:, :, None] * x[:, None] - products.mT @ products)
        # Where such matrices lie on a curve, a step along it may be singular: that start ends as NaN, which meets none.
        x = scaled(x - torch.linalg.solve_ex(curvature, x - (parts[:, None] @ products)[:, 0]).result)
    return x[1 - inside(x)[1].square().sum(-1) < OUTSIDE]


def _all_squares(M: Tensor) -> tuple[Tensor, Tensor]:
    n = M.shape[-1]
    unit = torch.eye(n, dtype=M.dtype)
    i, j = torch.triu_indices(n, n, offset=1)
    V = torch.cat((unit, (unit[i] + unit[j]) / 2**0.5))
    # Each square of a sum brings an entry, and half of it to both places of the diagonal.
    diagonal = M.diagonal(dim1=1, dim2=2)
    return V, torch.cat((2 * diagonal - M.sum(-1), 2 * M[:, i, j]), dim=1)


def _weights(M: Tensor, V: Tensor) -> Tensor:
    """Return the mixing that fits given squares best."""
    squares = torch.einsum("qi,qj->ijq", V, V).flatten(0, 1)
    # The driver that torch takes otherwise gives other bits at each call.
    weights: Tensor = torch.linalg.lstsq(squares, M.flatten(1).mT, driver="gelsd").solution
    return weights.mT
