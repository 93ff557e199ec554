"""Balanced truncation by the square-root algorithm.

With P = L L^T, Q = K K^T and the singular value decomposition K^T L = U Sigma V^T, the projectors

    T = L V_r Sigma_r^-1/2        W = K U_r Sigma_r^-1/2        (W^T T = 1)

give Ahat = W^T A T, Bhat = W^T B, Chat = C T (Moore 1981; Tombs and Postlethwaite 1987).  With Gramians of N taps this is the
time-limited form (Gawronski and Juang 1990), which may be unstable and is then repaired.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ssm2edge.reduction.contract import Outcome, Reduction, summarise
from ssm2edge.reduction.projection import with_best_outputs
from ssm2edge.reduction.sections import slowest_decay
from ssm2edge.systems.dense import DenseSystem, to_dense, to_modal
from ssm2edge.systems.division import TINY
from ssm2edge.systems.gram import scaled
from ssm2edge.systems.gramians import real_controllability_gramian, real_observability_gramian
from ssm2edge.systems.real_coordinates import real_rows, times_diagonal
from ssm2edge.systems.stability import into_disc, spectral_radius
from ssm2edge.systems.system import System, siso_bank

# States whose Hankel singular value is below this share of the largest are balanced as if it were this: they are rounding.
NEGLIGIBLE = 1e-13
# Added to the diagonal of normalised Gramians, which are singular to rounding as a rule.
RIDGE = 1e-14
# Channels balanced at a time: their matrices stay in the cache.
BLOCK = 32


@dataclass(frozen=True, eq=False)
class Balancing:
    """Balancing projectors of systems, and the systems in the coordinates that the projectors are in.

    Attributes
    ----------
    poles
        ``(*batch, n)`` complex128; ``times_diagonal`` of them is A in these real coordinates.
    B, C, D, M
        Real matrices, as in ``DenseSystem``.
    T, W
        ``(*batch, n, order)``, with ``W^T T = 1``.
    """

    poles: Tensor
    B: Tensor
    C: Tensor
    D: Tensor
    M: Tensor | None
    T: Tensor
    W: Tensor


def square_root(gramian: Tensor) -> Tensor:
    """Return L with ``L L^T`` the positive semidefinite matrix given, to rounding of each state's own size.

    Cholesky is some fifteen times faster than an eigendecomposition, which takes over where rounding leaves a matrix indefinite.
    """
    size = gramian.diagonal(dim1=-2, dim2=-1).clamp_min(0).sqrt()
    inverse = torch.where(size > 0, 1 / size.clamp_min(TINY), torch.zeros_like(size))
    normalised = scaled(gramian, inverse)
    L, info = torch.linalg.cholesky_ex(normalised + RIDGE * torch.eye(gramian.shape[-1], dtype=gramian.dtype))
    failed = info != 0
    if failed.any():
        bad = normalised[failed]
        values, vectors = torch.linalg.eigh((bad + bad.mT) / 2)
        L[failed] = vectors * values.clamp_min(0).sqrt()[..., None, :]
    root: Tensor = size[..., :, None] * L
    return root


def balance(system: System, order: int, horizon: int | None) -> Balancing:
    """Return the projectors onto the ``order`` most controllable and observable directions."""
    if system.is_siso and system.M is None:
        pieces = [_balance_channels(system[i : i + BLOCK], order, horizon) for i in range(0, system.poles.shape[0], BLOCK)]
        parts = {name: torch.cat([getattr(piece, name) for piece in pieces]) for name in ("poles", "B", "C", "D", "T", "W")}
        return Balancing(**parts, M=None)
    P = real_controllability_gramian(system, horizon)
    Q = real_observability_gramian(system, horizon)
    T, W = balancing_projectors(P, Q, order)
    dense = to_dense(system)
    return Balancing(system.poles, dense.B, dense.C, dense.D, dense.M, T=T, W=W)


def balancing_projectors(P: Tensor, Q: Tensor, order: int) -> tuple[Tensor, Tensor]:
    """Return T and W, ``(*batch, n, order)``, with ``W^T P W = T^T Q T`` the diagonal of the leading Hankel singular values.

    Parameters
    ----------
    P, Q
        Controllability and observability Gramians, ``(*batch, n, n)`` float64.
    order
        Columns of both.
    """
    L, K = square_root(P), square_root(Q)
    U, sv, Vh = torch.linalg.svd(K.mT @ L)
    scale = _inverse_roots(sv, order)
    return L @ Vh.mT[..., :order] * scale, K @ U[..., :order] * scale


def _balance_channels(system: System, order: int, horizon: int | None) -> Balancing:
    """Balance SISO channels in sign-symmetric coordinates: C = B^T J with J = diag(+-1), so that Q = J P J.

    One Gramian and one symmetric eigendecomposition, of L^T J L, then do the work of two and of a singular value decomposition.
    """
    poles, residues = system.poles, system.residues
    paired = poles.imag != 0
    odd = torch.arange(system.order) % 2 == 1
    # Roots of a pair stay conjugates of each other; a real pole's root is that of the modulus, its sign goes into J.
    roots = torch.sqrt(torch.where(paired, torch.where(odd, residues.conj(), residues), residues.abs().to(residues)))
    roots = torch.where(paired & odd, roots.conj(), roots)
    negative = torch.where(paired, odd, residues.real < 0)
    J = torch.where(negative, -1.0, 1.0).to(torch.float64)
    symmetric = System(poles, roots[..., None], torch.where(paired, roots, roots * J)[..., None, :], system.D)
    L = square_root(real_controllability_gramian(symmetric, horizon))
    values, vectors = torch.linalg.eigh(L.mT @ (J[..., None] * L))
    order_of = values.abs().argsort(-1, descending=True)
    values = values.gather(-1, order_of)
    vectors = vectors.gather(-1, order_of[..., None, :].expand_as(vectors))
    sv = values.abs()
    T = L @ vectors[..., :order] * _inverse_roots(sv, order)
    B = real_rows(symmetric.B, paired).real
    W = J[..., None] * T * values[..., None, :order].sign()
    return Balancing(poles, B, (J[..., None] * B).mT, system.D, None, T=T, W=W)


def _inverse_roots(sv: Tensor, order: int) -> Tensor:
    """Return ``sv^-1/2`` of the leading values as a row, with a floor under those that are rounding."""
    floor = sv[..., :1].clamp_min(TINY) * NEGLIGIBLE
    return torch.maximum(sv, floor)[..., None, :order].rsqrt()


def project(balancing: Balancing) -> DenseSystem:
    """Return the Petrov-Galerkin projection."""
    T, W, M = balancing.T, balancing.W, balancing.M
    return DenseSystem(
        A=W.mT @ times_diagonal(balancing.poles, T),
        B=W.mT @ balancing.B,
        C=balancing.C @ T,
        D=balancing.D,
        M=None if M is None else T.mT[..., None, :, :] @ M @ T[..., None, :, :],
    )


def repaired(system: System, reduced: System, horizon: int | None) -> tuple[System, Tensor]:
    """Bring unstable poles, and those that outlast the horizon by far, into the disc; fit the outputs of those systems again."""
    radius = math.exp(-slowest_decay(system.poles, horizon))
    unstable = ~(spectral_radius(reduced) <= radius * (1 + 1e-12))
    outcomes = torch.where(unstable, int(Outcome.REPAIRED), int(Outcome.CONVERGED))
    if unstable.any():
        fixed = with_best_outputs(system[unstable], into_disc(reduced.poles[unstable], radius), reduced.B[unstable], horizon)
        reduced = put(reduced, unstable, fixed)
    return reduced, outcomes


def put(system: System, where: Tensor, other: System) -> System:
    """Replace the systems of a batch at the given indices (or mask) by others of the same order."""

    def exchanged(value: Tensor, new: Tensor) -> Tensor:
        value = value.clone()
        value[where] = new
        return value

    return system.mapped(exchanged, other)


def unit_input(system: System) -> System:
    """Write SISO channels without quadratic outputs with B = 1 and C = residues; leave other systems as they are."""
    if system.is_siso and system.M is None:
        return siso_bank(system.poles, system.residues, system.D[..., 0, 0])
    return system


def truncated(system: System, balancing: Balancing, horizon: int | None) -> tuple[System, Tensor]:
    """Return the truncated systems and their outcomes."""
    reduced = unit_input(to_modal(project(balancing)))
    return repaired(system, reduced, horizon)


def balanced_truncation(system: System, order: int, horizon: int | None) -> Reduction:
    """Reduce by balanced truncation; time-limited Gramians on a finite horizon."""
    reduced, outcomes = truncated(system, balance(system, order, horizon), horizon)
    return summarise(system, reduced, "balanced", horizon, outcomes)
