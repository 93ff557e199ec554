"""TLH2: the two-sided fixed-point iteration for h2-optimal reduction on a horizon.

Each step spans the trajectories of the present reduced system seen from both sides,

    V = orth(X),   X - A X Ahat^T = B Bhat^T - S B Bhat^T Shat^T
    W = orth(Z),   the windowed adjoint with right-hand side C^T Chat + 2 sum_i M_i X Mhat_i

and projects, Ahat = (W^T V)^-1 W^T A V, until the poles settle.  On the infinite horizon its fixed points are stationary points
of the h2 error; on a short one they need not be, and poles may leave the unit disc.  They are then brought back.  Systems that
end worse than balanced truncation, or not at all, fall back to it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ssm2edge.reduction.balanced import balanced_truncation, put, unit_input
from ssm2edge.reduction.contract import Outcome, Reduction, summarise
from ssm2edge.reduction.projection import with_best_outputs
from ssm2edge.reduction.sections import slowest_decay
from ssm2edge.systems.dense import DenseSystem, canonical_order, to_modal
from ssm2edge.systems.division import relative
from ssm2edge.systems.eigen import eigenvalues
from ssm2edge.systems.gram import real_products
from ssm2edge.systems.norms import h2_error
from ssm2edge.systems.real_coordinates import modal_rows, real_rows
from ssm2edge.systems.stability import into_disc
from ssm2edge.systems.system import System, siso_bank
from ssm2edge.systems.window import window_sum

STEPS = 40
# Settled: the largest pole movement, in units of the pole's distance from the unit circle, is below this.
TOLERANCE = 1e-6


def tlh2(system: System, order: int, horizon: int | None) -> Reduction:
    """Reduce by the fixed-point iteration, started from balanced truncation."""
    start = balanced_truncation(system, order, horizon)
    return tlh2_from(system, start, horizon)


def tlh2_from(system: System, start: Reduction, horizon: int | None) -> Reduction:
    """Run the fixed-point iteration from another method's result, and fall back to it where the iteration ends worse."""
    current = start.system
    batch = system.batch_shape[0]
    iterations = torch.zeros(batch, dtype=torch.int64)
    settled = torch.zeros(batch, dtype=torch.bool)
    strayed = torch.zeros(batch, dtype=torch.bool)
    active = torch.arange(batch)
    radius = math.exp(-slowest_decay(system.poles, horizon))
    scalar = system.is_siso and system.M is None
    no_feedthrough = torch.zeros(batch, dtype=torch.float64)
    for _ in range(STEPS):
        poles, B = fixed_point_step(system[active], current[active], horizon)
        finite = torch.isfinite(poles).all(-1) & torch.isfinite(B).all(-1).all(-1)
        outside = ~(poles.abs().amax(-1) < 1)
        strayed[active] = outside
        previous = current.poles[active]
        poles = torch.where(finite[:, None], into_disc(poles, radius), previous)
        B = torch.where(finite[:, None, None], B, current.B[active])
        # A SISO step depends on the poles alone; other systems need their output maps for the next one.
        if scalar:
            following = siso_bank(poles, B[..., 0], no_feedthrough[active])
        else:
            following = with_best_outputs(system[active], poles, B, horizon, ridge=0.0)
        current = put(current, active, following)
        iterations[active] += 1
        movement = ((poles - previous).abs() / (1 - previous.abs()).clamp_min(1e-9)).amax(-1)
        done = (movement < TOLERANCE) & finite
        settled[active] = done & ~outside
        active = active[~done & finite]
        if not len(active):
            break
    outcomes = torch.where(settled, int(Outcome.CONVERGED), int(Outcome.STOPPED))
    outcomes = torch.where(strayed, int(Outcome.REPAIRED), outcomes)
    current = with_best_outputs(system, current.poles, current.B, horizon, ridge=0.0)
    error = h2_error(system, current, horizon)
    worse = ~(error <= start.error)
    if worse.any():
        current = put(current, worse, start.system[worse])
        # A settled fixed point slightly worse than its start is replaced, too, and has this outcome.
        outcomes = torch.where(worse, int(Outcome.FELL_BACK), outcomes)
    return summarise(system, current, "tlh2", horizon, outcomes, iterations)


def fixed_point_step(system: System, reduced: System, horizon: int | None) -> tuple[Tensor, Tensor]:
    """Return poles and modal input matrix after one step of the iteration."""
    S = window_sum(system.poles, reduced.poles, horizon)
    X = (system.B @ reduced.B.mT) * S
    right = system.C.mT @ reduced.C
    if system.M is not None and reduced.M is not None:
        right = right + 2 * (system.M @ X[..., None, :, :] @ reduced.M).sum(-3)
    Z = right * S
    rows, columns = system.poles.imag != 0, reduced.poles.imag != 0
    # Real coordinates on both sides; the adjoint lives in the dual ones, hence the conjugates.
    V = orthonormal(real_products(X, rows, columns))
    W = orthonormal(real_products(Z.conj(), rows, columns))
    # A V in real coordinates: back to modal ones, times the poles, forth again.
    AV = real_rows(system.poles[..., None] * modal_rows(V, rows), rows).real
    E = W.mT @ V
    A, info = torch.linalg.solve_ex(E, W.mT @ AV)
    A = torch.where((info == 0)[:, None, None] & torch.isfinite(A), A, torch.zeros_like(A))
    if system.is_siso and system.M is None:
        poles = eigenvalues(A)
        poles = poles.gather(-1, canonical_order(poles))
        poles = torch.where((info == 0)[:, None], poles, torch.full_like(poles, torch.nan))
        return poles, torch.ones_like(poles)[..., None]
    B, _ = torch.linalg.solve_ex(E, W.mT @ real_rows(system.B, rows).real)
    B = torch.where(torch.isfinite(B), B, torch.zeros_like(B))
    modal = unit_input(to_modal(DenseSystem(A, B, W.new_zeros((len(A), system.outputs, A.shape[-1])), system.D)))
    return torch.where((info == 0)[:, None], modal.poles, torch.full_like(modal.poles, torch.nan)), modal.B


def orthonormal(X: Tensor) -> Tensor:
    """Return an orthonormal basis of the columns' span; columns are normalised first, so that their scales do not matter."""
    X = relative(X, torch.linalg.vector_norm(X, dim=-2, keepdim=True))
    basis: Tensor = torch.linalg.qr(X)[0]
    return basis
