"""Refinement of systems whose inputs or quadratic outputs couple the modes: MIMO and LQO.

With bilinear Gramians X (of the pair) and Phat (of the reduced system) the squared error on the horizon is

    J = |G|^2 - 2 [tr(C X Chat^T) + sum_i tr(M_i X Mhat_i X^T)]
        + tr(Chat Phat Chat^T) + sum_i tr(Mhat_i Phat Mhat_i Phat)

Chat and Mhat are eliminated (``projection.py``); being optimal, they add nothing to the gradient by the poles and Bhat:

    dJ/dX = -2 C^T Chat - 4 sum_i M_i X Mhat_i         dJ/dPhat = Chat^T Chat + 2 sum_i Mhat_i Phat Mhat_i

and X = (B Bhat^T) * s, Phat = (Bhat Bhat^T) * shat elementwise, s the window sums with derivative s1 by log lambda.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ssm2edge.reduction.projection import RIDGE, with_best_outputs
from ssm2edge.reduction.quasi_newton import descend
from ssm2edge.reduction.sections import NU_MAX, Sections, sections_of, slowest_decay
from ssm2edge.systems.norms import h2_norm
from ssm2edge.systems.real_coordinates import modal_rows, real_rows
from ssm2edge.systems.system import System
from ssm2edge.systems.window import window_sums

STEPS = 400
TOLERANCE = 1e-7


@dataclass(frozen=True, eq=False)
class Refined:
    """Reduced systems with their squared errors, step counts, and which converged."""

    system: System
    value: Tensor
    iterations: Tensor
    converged: Tensor


def squared_error(
    system: System, energy: Tensor, poles: Tensor, B: Tensor, horizon: int | None, ridge: float = RIDGE
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the projected squared error, ``(batch,)``, and its derivatives by log poles ``(batch, r)`` and B ``(batch, r, m)``.

    ``energy`` is the squared norm of the original without its feedthrough; the derivatives are exact for ``ridge`` zero,
    and off by the ridge's own share otherwise.
    """
    reduced = with_best_outputs(system, poles, B, horizon, ridge)
    C, M = reduced.C, reduced.M
    s, s1, _ = window_sums(system.poles, poles, horizon)
    own, own1, _ = window_sums(poles, poles, horizon)
    cross_inputs, inputs = system.B @ B.mT, B @ B.mT
    X, P = cross_inputs * s, inputs * own
    by_X, by_P = -2 * system.C.mT @ C, C.mT @ C
    value = energy + (by_X * X).sum((-2, -1)).real + (by_P * P).sum((-2, -1)).real
    if system.M is not None and M is not None:
        MX = (system.M @ X[..., None, :, :] @ M).sum(-3)
        MP = (M @ P[..., None, :, :] @ M).sum(-3)
        value = value - 2 * (MX * X).sum((-2, -1)).real + (MP * P).sum((-2, -1)).real
        by_X, by_P = by_X - 4 * MX, by_P + 2 * MP
    by_log_poles = (by_X * cross_inputs * s1).sum(-2) + 2 * (by_P * inputs * own1).sum(-2)
    by_B = (by_X * s).mT @ system.B + 2 * (by_P * own) @ B
    return value, by_log_poles, by_B


def refine(system: System, start: System, horizon: int | None) -> Refined:
    """Minimise the squared error over poles and input matrices, from the poles and input matrices of ``start``."""
    energy = h2_norm(system, horizon).square() - system.D.square().sum((-2, -1))
    slowest = slowest_decay(system.poles, horizon)
    sections = sections_of(start.poles, slowest)
    batch, r, m = start.B.shape
    # One unit of a parameter is a width of the resonance, and the size of the input row: rows start at unit length.
    scales = sections.scales()
    rows = real_rows(start.B, start.poles.imag != 0).real
    rows = rows / torch.linalg.vector_norm(rows, dim=-1, keepdim=True).clamp_min(1e-12)
    theta = sections.paired & (torch.arange(r) % 2 == 1)

    def unpack(x: Tensor, where: Tensor) -> tuple[Sections, Tensor]:
        parameters = x[:, :r] * scales[where]
        parameters = torch.where(theta[where], parameters, parameters.clamp(math.log(slowest), NU_MAX))
        return Sections(parameters, sections.paired[where], sections.negative[where], slowest), x[:, r:].reshape(-1, r, m)

    def objective(x: Tensor, where: Tensor) -> tuple[Tensor, Tensor]:
        present, rows = unpack(x, where)
        B = modal_rows(rows, present.paired)
        value, by_log_poles, by_B = squared_error(system[where], energy[where], present.poles(), B, horizon)
        # tangent() is per scaled unit of the present sections; the scales here are those of the start.
        by_parameters = (present.tangent().mT @ by_log_poles[..., None])[..., 0].real / present.scales() * scales[where]
        by_rows = real_rows(by_B.conj(), present.paired).real
        return value.nan_to_num(torch.inf, torch.inf, torch.inf), torch.cat((by_parameters, by_rows.flatten(1)), -1)

    descent = descend(objective, torch.cat((sections.parameters / scales, rows.flatten(1)), -1), STEPS, TOLERANCE)
    final, rows = unpack(descent.point, torch.arange(batch))
    B = modal_rows(rows, final.paired)
    # Angles may have crossed the real axis: then the first member of the pair is the lower one, and the two are exchanged.
    poles = final.poles()
    lower = poles.imag * torch.where(torch.arange(r) % 2 == 0, 1.0, -1.0) < 0
    poles, B = torch.where(lower, poles.conj(), poles), torch.where(lower[..., None], B.conj(), B)
    return Refined(with_best_outputs(system, poles, B, horizon), descent.value, descent.iterations, descent.converged)
