"""L-BFGS for batches of small problems, each with its own curvature pairs and step length (Nocedal and Wright, algorithm 7.4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ssm2edge.systems.division import TINY, relative

MEMORY = 15
ARMIJO = 1e-4
BACKTRACKS = 20

# Maps points (k, d) and the indices (k,) of the problems they belong to, to values (k,) and gradients (k, d).
Objective = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True, eq=False)
class Descent:
    """End of a descent: points ``(batch, d)``, values and step counts ``(batch,)``, and the problems that met the tolerance."""

    point: Tensor
    value: Tensor
    iterations: Tensor
    converged: Tensor


def descend(objective: Objective, start: Tensor, steps: int, tolerance: float) -> Descent:
    """Minimise every problem of a batch; values never rise.

    Parameters
    ----------
    tolerance
        A problem has converged once ten steps together lower its value by less than this share.
    """
    batch = start.shape[0]
    everything = torch.arange(batch)
    x = start.clone()
    value, gradient = objective(x, everything)
    pairs: list[tuple[Tensor, Tensor, Tensor]] = []
    iterations = torch.zeros(batch, dtype=torch.int64)
    converged = torch.zeros(batch, dtype=torch.bool)
    stuck = ~torch.isfinite(value)
    earlier = [value]
    for step in range(steps):
        active = torch.nonzero(~converged & ~stuck)[:, 0]
        if not len(active):
            break
        direction = -two_loop(gradient[active], [(s[active], y[active], rho[active]) for s, y, rho in pairs])
        slope = (direction * gradient[active]).sum(-1)
        uphill = ~(slope < 0)
        direction = torch.where(uphill[:, None], -gradient[active], direction)
        slope = torch.where(uphill, -gradient[active].square().sum(-1), slope)
        length = torch.ones(len(active), dtype=x.dtype)
        if not pairs:
            length = 0.1 / direction.abs().amax(-1).clamp_min(TINY)
        # No coordinate moves by more than one unit at once: parameters are scaled to make one a long way.
        length = torch.minimum(length, 1 / direction.abs().amax(-1).clamp_min(TINY))
        new_x, new_value, new_gradient = x.clone(), value.clone(), gradient.clone()
        waiting = torch.arange(len(active))
        for _ in range(BACKTRACKS):
            where = active[waiting]
            trial = x[where] + length[waiting, None] * direction[waiting]
            f, g = objective(trial, where)
            good = (f <= value[where] + ARMIJO * length[waiting] * slope[waiting]) & torch.isfinite(g).all(-1)
            accepted = where[good]
            new_x[accepted], new_value[accepted], new_gradient[accepted] = trial[good], f[good], g[good]
            length[waiting[~good]] *= 0.4
            waiting = waiting[~good]
            if not len(waiting):
                break
        stuck[active[waiting]] = True
        s, y = new_x - x, new_gradient - gradient
        curvature = (s * y).sum(-1)
        usable = curvature > 1e-12 * (s.norm(dim=-1) * y.norm(dim=-1)).clamp_min(TINY)
        # A pair without positive curvature is kept as a pair that does nothing (rho = 0).
        pairs.append((s, y, torch.where(usable, 1 / curvature.where(usable, torch.ones_like(curvature)), 0.0)))
        pairs = pairs[-MEMORY:]
        x, value, gradient = new_x, new_value, new_gradient
        iterations[active] += 1
        earlier.append(value)
        if step >= 10:
            converged[active] = (earlier[-11] - value <= tolerance * value.abs())[active]
    # No step can lower a stuck value any more: that is as converged as rounding lets it be, if its start was finite.
    return Descent(x, value, iterations, converged | (stuck & torch.isfinite(value)))


def two_loop(gradient: Tensor, pairs: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """Apply the inverse Hessian approximation of the curvature pairs (s, y, 1 / s.y) to the gradient."""
    q = gradient
    weights = []
    for s, y, rho in reversed(pairs):
        alpha = rho * (s * q).sum(-1)
        q = q - alpha[:, None] * y
        weights.append(alpha)
    scale = torch.ones_like(gradient[:, 0])
    for s, y, rho in pairs:
        scale = torch.where(rho > 0, relative((s * y).sum(-1), y.square().sum(-1)), scale)
    q = q * scale[:, None]
    for (s, y, rho), alpha in zip(pairs, reversed(weights), strict=True):
        beta = rho * (y * q).sum(-1)
        q = q + (alpha - beta)[:, None] * s
    return q
