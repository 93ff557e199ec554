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

from ssm2edge.reduction.balanced import put
from ssm2edge.reduction.contract import Reduction, summarise
from ssm2edge.reduction.projection import RIDGE, with_best_outputs
from ssm2edge.reduction.quasi_newton import descend
from ssm2edge.reduction.sections import NU_MAX, Sections, sections_of, slowest_decay
from ssm2edge.systems.norms import h2_norm
from ssm2edge.systems.real_coordinates import modal_rows, real_rows
from ssm2edge.systems.system import System
from ssm2edge.systems.window import window_sums

SHORT, STEPS = 40, 400
"""Steps of each candidate, and of the best of them."""
CANDIDATES = 4
SAME = 1e-4
"""Starts with errors closer than this lead to the same place."""
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


def ranked(system: System, starts: list[Reduction], horizon: int | None) -> list[Reduction]:
    """Rearrange starts, system by system: first the one with the smallest error, and so on; repetitions last."""
    errors = torch.stack([start.error for start in starts]).nan_to_num(torch.inf, torch.inf, torch.inf)
    ascending, ranking = errors.sort(0)
    repeated = torch.zeros_like(ascending, dtype=torch.bool)
    repeated[1:] = ascending[1:] <= ascending[:-1] * (1 + SAME)
    ranking = ranking.gather(0, torch.argsort(repeated.to(torch.int8), dim=0, stable=True))
    rearranged = []
    for places in ranking:
        chosen = starts[0].system
        for i, start in enumerate(starts):
            chosen = put(chosen, places == i, start.system[places == i])
        rearranged.append(summarise(system, chosen, "start", horizon))
    return rearranged


def refine_best(system: System, starts: list[Reduction], horizon: int | None) -> Refined:
    """Refine the first few starts for some steps, and the best of them to its end.

    On long horizons the fixed points of TLH2 among the starts are stationary, and nothing is left to do; descents from other
    starts take hundreds of steps and seldom get as far.
    """
    best = refine(system, starts[0].system, horizon, SHORT)
    for start in starts[1:CANDIDATES]:
        best = _merged(best, refine(system, start.system, horizon, SHORT))
    where = torch.nonzero(~best.converged)[:, 0]
    if not len(where):
        return best
    return _merged(best, refine(system[where], best.system[where], horizon, STEPS), where)


def _merged(best: Refined, other: Refined, where: Tensor | None = None) -> Refined:
    """Return the better of two; ``other`` holds the systems at ``where``, all by default."""
    where = torch.arange(len(best.value)) if where is None else where
    better = other.value <= best.value[where]
    chosen = where[better]
    value, iterations, converged = best.value.clone(), best.iterations.clone(), best.converged.clone()
    iterations[where] += other.iterations
    value[chosen], converged[chosen] = other.value[better], other.converged[better]
    return Refined(put(best.system, chosen, other.system[better]), value, iterations, converged)


def refine(system: System, start: System, horizon: int | None, steps: int = STEPS) -> Refined:
    """Minimise the squared error over poles and input matrices, from the poles and input matrices of ``start``."""
    energy = h2_norm(system, horizon).square() - system.D.square().sum((-2, -1))
    slowest = slowest_decay(system.poles, horizon)
    sections = sections_of(start.poles, slowest)
    batch, r, m = start.B.shape
    # One unit of a parameter is a width of the resonance, and the size of the input row: rows start at unit length, both of a
    # pair scaled alike, which leaves the system what it is.
    scales = sections.scales()
    lengths = torch.linalg.vector_norm(start.B, dim=-1, keepdim=True).clamp_min(1e-12)
    rows = real_rows(start.B / lengths, start.poles.imag != 0).real
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

    descent = descend(objective, torch.cat((sections.parameters / scales, rows.flatten(1)), -1), steps, TOLERANCE)
    final, rows = unpack(descent.point, torch.arange(batch))
    B = modal_rows(rows, final.paired)
    # Angles may have crossed the real axis: then the first member of the pair is the lower one, and the two are exchanged.
    poles = final.poles()
    lower = poles.imag * torch.where(torch.arange(r) % 2 == 0, 1.0, -1.0) < 0
    poles, B = torch.where(lower, poles.conj(), poles), torch.where(lower[..., None], B.conj(), B)
    return Refined(with_best_outputs(system, poles, B, horizon), descent.value, descent.iterations, descent.converged)
