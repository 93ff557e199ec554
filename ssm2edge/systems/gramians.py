"""Gramians of modal systems on a horizon of N taps, in closed form.

With S = A^N (zero for the infinite horizon), the windowed Gramians solve

    P - A P A^H = B B^H - S B B^H S^H
    Q - A^H Q A = R - S^H R S,      R = C^H C + sum_i M_i^H conj(P) M_i   (LQO; the second term is absent in LTI systems)

For diagonal A both are elementwise products with the window sum of ``window.py``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ssm2edge.systems.real_coordinates import real_rows
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


def real_controllability_gramian(system: System, horizon: int | None = None) -> Tensor:
    """Return ``U P U^H``, the controllability Gramian in the coordinates of ``real_coordinates.py``, ``(*batch, n, n)`` float64.

    Systems must be in canonical order with real B at real poles.  The two rows of a conjugate pair are conjugates of each other,
    so one is enough: a row of P times U^H is ``(u + i v) / sqrt(2)`` with u and v the two rows wanted.
    """
    check_horizon(horizon)
    poles, B, n = system.poles, system.B, system.order
    paired = poles.imag != 0
    rows = (B[..., 0::2, :] @ B.mH) * window_sum(poles[..., 0::2], poles.conj(), horizon)
    alone = ~paired[..., 1::2]
    if alone.any():
        # The second of two real poles has a row of its own, carried along as the imaginary part of the first one's.
        second, several = poles[..., 1::2][alone][:, None], poles[..., None, :].expand(*alone.shape, n)[alone]
        inputs = B[..., None, :, :].expand(*alone.shape, n, system.inputs)[alone]
        own = (B[..., 1::2, :][alone][:, None, :] @ inputs.mH) * window_sum(second, several.conj(), horizon)
        rows[..., : alone.shape[-1], :][alone] += 1j * own[:, 0]
    rows = real_rows(rows.mH, paired).mH
    size = 1 + (2**0.5 - 1) * paired[..., 0::2, None].to(torch.float64)
    return torch.stack((size * rows.real, size * rows.imag), dim=-2).flatten(-3, -2)[..., :n, :]


def observability_gramian(system: System, horizon: int | None = None) -> Tensor:
    """Return ``Q = sum_{k<N} (A^H)^k R A^k``, Hermitian, ``(*batch, n, n)`` complex128.

    For systems with quadratic outputs this is the Gramian of Gosea and Antoulas (2019), on a horizon.
    """
    check_horizon(horizon)
    R = system.C.mH @ system.C
    if system.M is not None:
        P = controllability_gramian(system, horizon).conj()
        R = R + (system.M.mH @ P[..., None, :, :] @ system.M).sum(-3)
    return R * window_sum(system.poles.conj(), system.poles, horizon)


def real_observability_gramian(system: System, horizon: int | None = None) -> Tensor:
    """Return ``U Q U^H``, the observability Gramian in the coordinates of ``real_coordinates.py``, ``(*batch, n, n)`` float64."""
    paired = system.poles.imag != 0
    return real_rows(real_rows(observability_gramian(system, horizon), paired).mH, paired).real
