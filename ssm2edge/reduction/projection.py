"""Variable projection: the best output maps for given poles and input matrix, in closed form.

For fixed (Ahat, Bhat) the h2 error is quadratic in Chat and Mhat, with the minimiser (van Loan-like, on N taps)

    Chat = C X Phat^-1        Mhat_i = Phat^-1 X^T M_i X Phat^-1

X and Phat are taken in bilinear form, ``X = sum_k A^k B Bhat^T (Ahat^T)^k``: the impulse responses are real, so no conjugate is
needed, and every expression is analytic in the poles.  Phat is factored in the coordinates of ``systems/real_coordinates.py``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ssm2edge.systems.gram import real_gram, scaled, unit_scale
from ssm2edge.systems.real_coordinates import complex_columns, real_rows, swapped
from ssm2edge.systems.system import System
from ssm2edge.systems.window import window_sum

RIDGE, LARGEST_RIDGE = 1e-8, 1e-5
"""Weight of the residues' own energy in a projection: ``RIDGE memory_j |r_j|^2 |phi_j|^2``, memory_j = ``sum_k |lambda_j|^2k``.

A recurrence in float32 rounds each state to 2^-24 of itself at every sample, and the mode adds these roundings up over its
memory: their energy at the output is ``2^-48 / 3 memory_j |r_j|^2 |phi_j|^2`` for white input.  Poles that all but coincide would
get huge residues that cancel: exact on paper, noise on the device.  The weight is ten million times that energy, so the noise
stays three decimal digits below any error that decides between two reductions.  Residues that do not cancel change by at most
``LARGEST_RIDGE`` of themselves.  If the ridge outweighs the error, a last polish takes a hundredth of it (``gradient.py``).
"""

EPS = 2.2e-16

# Diagonal shifts tried in turn when poles have come so close that the normalised Gram matrix is not numerically definite.
JITTERS = (0.0, 1e-15, 1e-14, 1e-13, 1e-12, 1e-10, 1e-8)


def memory(own_sums: Tensor, paired: Tensor) -> Tensor:
    """Return ``sum_k |lambda_j|^2k``, ``(*batch, r)`` float64, from the window sums of canonical poles with themselves."""
    with_itself, with_partner = (x.diagonal(dim1=-2, dim2=-1) for x in (own_sums, swapped(own_sums)))
    return torch.where(paired, with_partner, with_itself).real.clamp_min(0)


def rounding_energy(residues: Tensor, memories: Tensor, jitter: Tensor | None = None) -> Tensor:
    """Return a bound on the rounding of the squared error of SISO channels, ``(*batch,)``.

    A window sum is off by about EPS times the memory of its poles; residues of poles that nearly meet multiply it.

    Parameters
    ----------
    residues, memories
        ``(*batch, r)``, memories of :func:`memory`.
    jitter
        Diagonal shifts of :func:`gram_factor`, ``(*batch,)``.
    """
    shift = torch.zeros(()) if jitter is None else jitter[..., None]
    weights = memories * (EPS * memories.clamp_min(1) + shift)
    return 4 * (residues.abs() * weights.sqrt()).sum(-1).square()


def ridge_of(memories: Tensor, ridge: float = RIDGE) -> Tensor:
    """Return the weights of the normalised residues' energies, ``(*batch, r)``, from memories of :func:`memory`."""
    return (ridge * memories).clamp_max(LARGEST_RIDGE)


def gram_factor(gram: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Factor real Gram matrices with their ridge, ``gram + ridge = diag(scale)^-1 L L^T diag(scale)^-1``.

    Parameters
    ----------
    gram
        ``(*batch, r, r)``.
    weights
        ``(*batch, r)``, what the ridge adds to the diagonal of the normalised matrices; of :func:`ridge_of`.

    Returns
    -------
    L, scale, jitter
        Lower triangular ``(*batch, r, r)``, ``(*batch, r)``, and the diagonal shift that was needed, ``(*batch,)``.
    """
    scale = unit_scale(gram)
    normalised = scaled(gram, scale) + torch.diag_embed(weights)
    L, info = torch.linalg.cholesky_ex(normalised)
    jitter = torch.zeros(gram.shape[:-2], dtype=gram.dtype)
    eye = torch.eye(gram.shape[-1], dtype=gram.dtype)
    for shift in JITTERS[1:]:
        bad = (info != 0) | ~torch.isfinite(L).all(-1).all(-1)
        if not bad.any():
            break
        jitter = torch.where(bad, shift, jitter)
        L, info = torch.linalg.cholesky_ex(normalised + jitter[..., None, None] * eye)
    return L, scale, jitter


def with_best_outputs(system: System, poles: Tensor, B: Tensor, horizon: int | None, ridge: float = RIDGE) -> System:
    """Return the systems of the given poles and input matrices that are nearest to ``system`` in the h2 norm.

    Parameters
    ----------
    system
        Originals, ``(*batch,)``.
    poles, B
        ``(*batch, r)`` and ``(*batch, r, m)`` complex128, stable, conjugate-closed, in canonical order.
    ridge
        See ``RIDGE``; 0 gives the exact minimiser.
    """
    paired = poles.imag != 0
    X = (system.B @ B.mT) * window_sum(system.poles, poles, horizon)
    own_sums = window_sum(poles, poles, horizon)
    gram = (B @ B.mT) * own_sums
    L, scale, _ = gram_factor(real_gram(gram, paired), ridge_of(memory(own_sums, paired), ridge))
    Y = real_rows((system.C @ X).mT, paired).real
    C = complex_columns((scale[..., None] * torch.cholesky_solve(scale[..., None] * Y, L)).mT, paired)
    M = None
    if system.M is not None:
        inner = X.mT[..., None, :, :] @ system.M @ X[..., None, :, :]
        several = paired[..., None, :]
        inner = scaled(real_gram(inner, several), scale[..., None, :])
        factor = L[..., None, :, :].expand_as(inner)
        inner = torch.cholesky_solve(torch.cholesky_solve(inner, factor).mT, factor)
        inner = scaled(inner, scale[..., None, :])
        inner = (inner + inner.mT) / 2
        M = complex_columns(complex_columns(inner, several).mT, several)
    return System(poles, B, C, system.D, M)


def refit_channels(system: System, poles: Tensor, horizon: int | None, ridge: float = RIDGE) -> System:
    """Fit SISO channels in unit-input form (B = 1, C = residues); see :func:`with_best_outputs`."""
    return with_best_outputs(system, poles, torch.ones_like(poles)[..., None], horizon, ridge)
