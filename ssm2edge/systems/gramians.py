"""Gramians of modal systems on a horizon of N taps, in closed form.

With S = A^N (zero for the infinite horizon), the windowed Gramians solve

    P - A P A^H = B B^H - S B B^H S^H
    Q - A^H Q A = R - S^H R S,      R = C^H C + sum_i M_i^H conj(P) M_i   (LQO; the second term is absent in LTI systems)

For diagonal A both are elementwise products with the window sum of ``window.py``.
"""

from __future__ import annotations

from torch import Tensor

from ssm2edge.systems.system import System
from ssm2edge.systems.window import check_horizon, window_sum


def controllability_gramian(system: System, horizon: int | None = None) -> Tensor:
    """Return ``P = sum_{k<N} A^k B B^H (A^H)^k``, Hermitian, ``(*batch, n, n)`` complex128.

    Parameters
    ----------
    system
        Stable if the horizon is infinite.
    horizon
        Number of taps, or None for the infinite horizon.
    """
    return mixed_gramian(system, system, horizon)


def mixed_gramian(system: System, other: System, horizon: int | None = None) -> Tensor:
    """Return ``X = sum_{k<N} A^k B other.B^H (other.A^H)^k``, ``(*batch, n, r)``: the two state trajectories' inner products."""
    check_horizon(horizon)
    return (system.B @ other.B.mH) * window_sum(system.poles, other.poles.conj(), horizon)


def output_energy(system: System, horizon: int | None = None) -> Tensor:
    """Return ``R = C^H C + sum_i M_i^H conj(P) M_i``, the right-hand side of the observability equation, ``(*batch, n, n)``."""
    R = system.C.mH @ system.C
    if system.M is not None:
        P = controllability_gramian(system, horizon).conj()
        R = R + (system.M.mH @ P[..., None, :, :] @ system.M).sum(-3)
    return R


def observability_gramian(system: System, horizon: int | None = None) -> Tensor:
    """Return ``Q = sum_{k<N} (A^H)^k R A^k``, Hermitian, ``(*batch, n, n)`` complex128.

    For systems with quadratic outputs this is the Gramian of Gosea and Antoulas (2019), on a horizon.
    """
    check_horizon(horizon)
    return output_energy(system, horizon) * window_sum(system.poles.conj(), system.poles, horizon)
