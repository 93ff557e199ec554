"""Real dense state-space matrices, and the way between them and the modal form.

A unitary change of coordinates U turns each conjugate pair (x, conj x) into its real and imaginary part times sqrt(2); all
matrices become real, Gramians stay what they are up to U, and a pair becomes a rotation-scaling block.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ssm2edge.systems.eigen import eigenpairs
from ssm2edge.systems.real_coordinates import complex_columns, modal_rows, real_rows, swapped, times_diagonal
from ssm2edge.systems.system import System

# Eigenvector matrices worse conditioned than one over the root of the rounding unit mean a (nearly) defective A: a perturbation
# of that root's size then puts its modal form off by less than rounding does without, and keeps residues smaller.
DEFECTIVE = 1e8


@dataclass(frozen=True, eq=False)
class DenseSystem:
    """Batch of systems with real matrices, float64.

    Attributes
    ----------
    A, B, C, D
        ``(*batch, n, n)``, ``(*batch, n, m)``, ``(*batch, p, n)``, ``(*batch, p, m)``.
    M
        None, or ``(*batch, p, n, n)`` symmetric: ``y_i += x^T M_i x``.
    """

    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor
    M: Tensor | None = None


def section_has_pair(poles: Tensor) -> Tensor:
    """Return, per state, whether it belongs to a section (2i, 2i + 1) of conjugate coordinates, ``(*batch, n)`` bool.

    A pair of equal real poles stored as (pole, conjugate), as S4D's zero frequency is, counts: its B and C are conjugates too.
    """
    in_section = torch.arange(poles.shape[-1]) < poles.shape[-1] // 2 * 2
    return in_section & (poles == swapped(poles).conj())


def is_canonical(system: System, tolerance: float = 1e-9) -> bool:
    """Return whether the states stand in canonical order: each complex pole in a section with its conjugate, as its B and C are.

    The response of such a system is real, and ``order`` counts its real states.  B and C may be off by ``tolerance``, relative
    to their largest entry.
    """
    real = system.poles.imag == 0
    if not bool((section_has_pair(system.poles) | real).all()):
        return False
    even = system.order - system.order % 2
    for rows in (system.B, system.C.mT):
        most = tolerance * float(rows.abs().max())
        first, second = rows[..., 0:even:2, :], rows[..., 1:even:2, :]
        conjugate = ((first - second.conj()).abs() <= most).all(-1).repeat_interleave(2, -1)
        alone = real & (rows.imag.abs() <= most).all(-1)
        if not bool((alone[..., :even] | conjugate).all() and alone[..., even:].all()):
            return False
    return True


def real_basis(poles: Tensor) -> Tensor:
    """Return the unitary U, ``(*batch, n, n)``, with real coordinates ``x_real = U x`` for conjugate-closed modal states x."""
    return conjugate_basis(section_has_pair(poles) & (poles.imag != 0))


def conjugate_basis(paired: Tensor) -> Tensor:
    """Return U from a mask of the states that stand in conjugate sections; identity elsewhere."""
    return real_rows(torch.eye(paired.shape[-1], dtype=torch.complex128).expand(*paired.shape, -1), paired)


def with_real_coefficients(system: System) -> System:
    """Return the same systems with real B and C at real poles, so that every state of them is a real state by itself.

    Models that store half of each pair give a pole of zero frequency twice, with conjugate coefficients.
    """
    doubled = section_has_pair(system.poles) & (system.poles.imag == 0)
    coefficients_real = (system.B.imag == 0).all(-1) & (system.C.imag == 0).all(-2)
    doubled = doubled & ~coefficients_real
    if not doubled.any():
        return system
    real = (system.poles.imag == 0)[..., :, None]
    B, C = real_rows(system.B, doubled), real_rows(system.C.mH, doubled).mH
    B = torch.where(real, B.real.to(B), B)
    C = torch.where(real.mT, C.real.to(C), C)
    M = None
    if system.M is not None:
        U = conjugate_basis(doubled)
        M = U.conj()[..., None, :, :] @ system.M @ U.mH[..., None, :, :]
    return replace(system, B=B, C=C, M=M)


def to_dense(system: System) -> DenseSystem:
    """Write systems with real matrices (block diagonal A with 2 x 2 rotation-scaling blocks)."""
    system = with_real_coefficients(system)
    paired = section_has_pair(system.poles) & (system.poles.imag != 0)
    eye = torch.eye(system.order, dtype=torch.float64).expand(*system.batch_shape, -1, -1)
    M = None
    if system.M is not None:
        U = real_basis(system.poles)
        M = (U.conj()[..., None, :, :] @ system.M @ U.mH[..., None, :, :]).real
    return DenseSystem(
        A=times_diagonal(system.poles, eye),
        B=real_rows(system.B, paired).real,
        C=real_rows(system.C.mH, paired).mH.real,
        D=system.D,
        M=M,
    )


def canonical_order(poles: Tensor) -> Tensor:
    """Return the permutation that puts pairs first by angle, then real poles from the largest down, ``(*batch, n)`` int64.

    Members of a pair must be adjacent and exact conjugates, as LAPACK returns them for real matrices.
    """
    real = poles.imag == 0
    key = torch.where(real, 10.0 - poles.real.clamp(-1, 1), poles.angle().abs())
    return torch.sort(key, dim=-1, stable=True).indices


def to_modal(dense: DenseSystem) -> System:
    """Diagonalise dense systems.

    A (nearly) defective A has no usable eigenvectors; such matrices are perturbed by about 1e-8 of their norm first, which
    splits multiple eigenvalues and changes the impulse response by a like amount.

    Raises
    ------
    ValueError
        If a matrix holds NaN or infinity.
    """
    A = dense.A
    if not torch.isfinite(A).all():
        raise ValueError("the state matrix holds NaN or infinite entries; it has no modal form.")
    poles, V = eigenpairs(A)
    bad = ~(torch.linalg.cond(V) < DEFECTIVE)
    if bad.any():
        n = A.shape[-1]
        i = torch.arange(n, dtype=A.dtype)
        # Of no structure: a triangular matrix perturbed by a triangular one would keep its eigenvectors' condition.
        scatter = torch.cos(1 + 2.3 * i[:, None] + 0.7 * i + i[:, None] * i) / n**0.5
        size = torch.linalg.matrix_norm(A, ord=2)[..., None, None].clamp_min(1e-12)
        poles, V = eigenpairs(torch.where(bad[..., None, None], A + 1e-8 * size * scatter, A))
    order = canonical_order(poles)
    poles = poles.gather(-1, order)
    V = V.gather(-1, order[..., None, :].expand_as(V))
    paired = poles.imag != 0
    # Solved in real coordinates, the coefficients of a pair are conjugates to the last bit, however ill V is conditioned.
    W = real_rows(V.mH, paired).mH.real
    B = modal_rows(torch.linalg.solve(W, dense.B.to(W)), paired)
    C = complex_columns(dense.C.to(W) @ W, paired)
    M = None
    if dense.M is not None:
        M = V.mT[..., None, :, :] @ dense.M.to(V) @ V[..., None, :, :]
        M = (M + M.mT) / 2
    return System(poles, B, C, dense.D, M)
