"""Norms of systems and of the difference of two systems.

    ||G||^2_{h2,N} = tr(D^T D) + tr(C P C^H) + sum_i tr(M_i^H conj(P) M_i P)

with P the controllability Gramian on N taps: the energy of D and of N taps of the impulse response (and of the second-order
kernel ``B^T (A^T)^k M A^l B``, k, l < N, where outputs are quadratic).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ssm2edge.systems.gramians import controllability_gramian, mixed_gramian, observability_gramian
from ssm2edge.systems.response import impulse_response
from ssm2edge.systems.system import System
from ssm2edge.systems.window import check_horizon, geometric_sum, window_sum

# Systems of a long batch are computed so many at a time: their Gramians stay in the cache.
BLOCK = 32
# Squared errors whose rounding may exceed this share of them are summed over impulse responses, so many powers at a time.
VAGUE = 1e-3
RESPONSES = 1 << 20
EPS = 2.2e-16


def h2_norm(system: System, horizon: int | None = None) -> Tensor:
    """Return the h2 norm on a horizon, ``(*batch,)`` float64.

    Parameters
    ----------
    system
        Stable if the horizon is infinite.
    horizon
        Taps counted after the feedthrough, or None for all of them.
    """
    system = system.paper_form()
    return (system.D.square().sum((-2, -1)) + proper_energy(system, horizon)).sqrt()


def proper_energy(system: System, horizon: int | None = None) -> Tensor:
    """Return the square of the h2 norm without the feedthrough's share, ``(*batch,)`` float64.

    Modes may cancel so far that rounding has a share in it: it is then summed over impulse responses, as in :func:`h2_error`.
    """
    system = system.paper_form()
    energy = inner_product(system, system, horizon)
    if horizon is not None and system.M is None and len(system.batch_shape) == 1:
        lost = ~(4 * EPS * size(system, horizon).square() < VAGUE * energy) & (energy != 0)
        if lost.any():
            energy[lost] = response_energy(system[lost], horizon)
    return energy.clamp_min(0)


def inner_product(system: System, other: System, horizon: int | None = None) -> Tensor:
    """Return the h2 inner product of two systems in paper form without their feedthroughs', ``(*batch,)`` float64.

    With X the mixed Gramian it is ``tr(C X other.C^H) + sum_i tr(M_i^H conj(X) other.M_i X^H)``.
    """
    if len(system.batch_shape) == 1 and system.batch_shape[0] > BLOCK:
        blocks = [slice(i, i + BLOCK) for i in range(0, system.batch_shape[0], BLOCK)]
        return torch.cat([inner_product(system[block], other[block], horizon) for block in blocks])
    if system.is_siso and system.M is None:
        check_horizon(horizon)
        along = system.residues[..., None, :] @ window_sum(system.poles, other.poles.conj(), horizon)
        return (along[..., 0, :] * other.residues.conj()).real.sum(-1)
    X = mixed_gramian(system, other, horizon)
    energy = ((system.C @ X) * other.C.conj()).sum((-2, -1)).real
    if system.M is not None and other.M is not None:
        conjugate = X.conj()[..., None, :, :]
        energy = energy + ((system.M.mH @ conjugate @ other.M) * conjugate).sum((-3, -2, -1)).real
    return energy


def h2_error(system: System, other: System, horizon: int | None = None, energy: Tensor | None = None) -> Tensor:
    """Return ``||system - other||_{h2,N}``, ``(*batch,)`` float64.

    The squares of the parts cancel in the square of the difference.  Rounding has a share in what is left if the error is small,
    or if residues of poles that nearly meet are huge.  The error of linear systems on a finite horizon is then summed over
    impulse responses.  Elsewhere relative errors below about 1e-8 are rounding.

    Parameters
    ----------
    energy
        :func:`proper_energy` of ``system`` where it is known already; most of the work goes into it.
    """
    system, other = system.paper_form(), other.paper_form()
    energy = proper_energy(system, horizon) if energy is None else energy
    proper = energy - 2 * inner_product(system, other, horizon) + inner_product(other, other, horizon)
    if horizon is not None and system.M is None and other.M is None and system.batch_shape == other.batch_shape:
        lost = ~(4 * EPS * (size(system, horizon) + size(other, horizon)).square() < VAGUE * proper)
        if lost.any():
            proper[lost] = response_energy(system[lost], horizon, other[lost])
    return (proper.clamp_min(0) + (system.D - other.D).square().sum((-2, -1))).sqrt()


def size(system: System, horizon: int) -> Tensor:
    """Return the sum of the residues' norms times their poles' memories, ``(*batch,)``.

    A window sum is off by about EPS times the square of its poles' memory: ``4 EPS size^2`` bounds the rounding of an energy.
    """
    memories = (1 / (1 - system.poles.abs().square()).clamp_min(1 / horizon)).clamp_max(horizon)
    unstable = system.poles.abs() > 1
    if unstable.any():
        memories[unstable] = geometric_sum(system.poles[unstable].abs().square(), horizon)
    size: Tensor = (system.C.norm(dim=-2) * system.B.norm(dim=-1) * memories).sum(-1)
    return size


def response_energy(system: System, horizon: int, other: System | None = None) -> Tensor:
    """Return the energy of a batch of impulse responses after the feedthrough, ``(batch,)``, or of their difference from others.

    Responses are subtracted, not systems: that of a system from itself is zero to the last bit.
    """
    order = system.order if other is None else max(system.order, other.order)
    length = max(1, RESPONSES // ((horizon + 1) * order))

    def energy_of(span: slice) -> Tensor:
        response = impulse_response(system[span], horizon + 1)
        if other is not None:
            response = response - impulse_response(other[span], horizon + 1)
        return response[..., 1:].square().sum((-3, -2, -1))

    return torch.cat([energy_of(slice(i, i + length)) for i in range(0, system.batch_shape[0], length)])


def hankel_singular_values(system: System, horizon: int | None = None) -> Tensor:
    """Return the Hankel singular values, descending, ``(*batch, n)`` float64: square roots of the eigenvalues of P Q.

    They belong to ``C A^j B``, j = 0, 1, ..., which a reduction approximates in either form.
    """
    P = _square_root(controllability_gramian(system, horizon))
    Q = _square_root(observability_gramian(system, horizon))
    values: Tensor = torch.linalg.svdvals(Q.mH @ P)
    return values


def _square_root(gramian: Tensor) -> Tensor:
    """Return L with ``L L^H`` the positive semidefinite matrix given."""
    values, vectors = torch.linalg.eigh(gramian)
    root: Tensor = vectors * values.clamp_min(0).sqrt()[..., None, :]
    return root
