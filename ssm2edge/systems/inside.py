"""Fewer poles for a response than a realisation took, all of them inside the unit circle.

A realisation of a slow response that is cut off may put poles just outside the circle: noise decides on which side they lie.
More states, or a continuation of the response, keep them inside, but the response does not need so many.  Sections are taken out
one after the other, the one that is missed least first; after each, all poles are fitted to the taps by damped Gauss-Newton
steps, with residues eliminated (Golub and Pereyra 1973, in Kaufman's simplification), over ``lambda = exp(-exp(nu) + i theta)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ssm2edge.systems.division import TINY
from ssm2edge.systems.real_coordinates import swapped
from ssm2edge.systems.response import pole_sequences

STEPS = 40
LARGEST_STEP = 0.7
"""Largest change of a parameter, in units of the pole's own decay."""
DAMPING, EASED, RAISED = 1e-3, 0.2, 6.0
"""First damping, relative to the curvatures, and the factors after steps that succeed and fail."""
FLAT = 1e-13
"""Singular values of the modes, relative to the largest, below which a direction is rounding."""

ErrorOf = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Roots of the squared errors of some responses, by their indices, poles and live states."""


@dataclass(frozen=True, eq=False)
class Poles:
    """Poles inside the circle as real parameters: nu of real poles, (nu, theta) of pairs; dead states have no output.

    Attributes
    ----------
    parameters, paired, negative, live
        ``(batch, n)``, the last three bool.
    """

    parameters: Tensor
    paired: Tensor
    negative: Tensor
    live: Tensor

    def values(self) -> Tensor:
        """Return the poles, ``(batch, n)`` complex128."""
        first = torch.arange(self.parameters.shape[-1]) % 2 == 0
        other = swapped(self.parameters)
        nu = torch.where(first | ~self.paired, self.parameters, other)
        theta = torch.where(first, other, -self.parameters)
        modulus = torch.exp(-torch.exp(nu))
        real = torch.where(self.negative, -modulus, modulus)
        return torch.where(self.paired, torch.polar(modulus, theta), torch.complex(real, torch.zeros_like(real)))

    def moved(self, step: Tensor, slowest: float) -> Poles:
        """Return the poles after a step in units of each pole's width."""
        second = self.paired & (torch.arange(self.parameters.shape[-1]) % 2 == 1)
        widths = torch.exp(swapped(self.parameters)).clamp_max(1.0)
        moved = self.parameters + torch.where(second, step * widths, step)
        moved = torch.where(second, moved.clamp(1e-9, math.pi - 1e-9), moved.clamp(slowest, 3.0))
        return Poles(moved, self.paired, self.negative, self.live)

    def chosen(self, other: Poles, mask: Tensor) -> Poles:
        """Return the other's poles where the mask, ``(batch,)``, says so."""
        return Poles(
            torch.where(mask[:, None], other.parameters, self.parameters),
            self.paired, self.negative, torch.where(mask[:, None], other.live, self.live),
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Local:
    """Squared error ``(batch,)``, residual ``(batch, length)``, its derivatives by steps, and what each section is missed."""

    error: Tensor
    residual: Tensor
    jacobian: Tensor
    missed: Tensor


def thinned(
    taps: Tensor, poles: Tensor, live: Tensor, fewest: Tensor, limit: Tensor, radius: float, error_of: ErrorOf
) -> tuple[Tensor, Tensor]:
    """Return poles with as few live states as fit the responses to the limit, and which are live.

    Parameters
    ----------
    taps
        ``(batch, length)`` float64.
    poles
        ``(batch, n)`` complex128, inside the disc of the radius, in canonical order.
    live
        ``(batch, n)`` bool: states that have outputs.
    fewest
        ``(batch,)`` int64, below which no state is taken out.
    limit
        ``(batch,)``, largest root of the squared error.
    radius
        Below one.
    error_of
        What is compared with the limit.
    """
    slowest = math.log(-math.log(radius))
    paired = poles.imag != 0
    second = paired & (torch.arange(poles.shape[-1]) % 2 == 1)
    nu = torch.log(-torch.log(poles.abs().clamp(1e-8, radius)))
    best = Poles(torch.where(second, poles.angle().abs(), nu), paired, ~paired & (poles.real < 0), live)
    local = _local(taps, best)
    going = torch.ones(len(taps), dtype=torch.bool)
    while True:
        size = torch.where(paired, 2, 1)
        fits = best.live & (best.live.sum(-1, keepdim=True) - size >= fewest[:, None])
        going = going & fits.any(-1)
        where = torch.nonzero(going)[:, 0]
        if not len(where):
            return best.values(), best.live
        missed = local.missed.masked_fill(~fits, torch.inf)
        victim = missed.argmin(-1, keepdim=True)
        gone = torch.zeros_like(live).scatter(1, victim, True)
        gone = gone | (paired & swapped(gone))
        start = Poles(best.parameters, paired, best.negative, best.live & ~gone)
        part = Poles(start.parameters[where], start.paired[where], start.negative[where], start.live[where])
        fitted = _fitted(taps[where], part, limit[where], slowest)
        accepted = torch.zeros_like(going)
        accepted[where] = error_of(where, fitted.values(), fitted.live) <= limit[where]
        parameters = start.parameters.clone()
        parameters[where] = fitted.parameters
        best = best.chosen(Poles(parameters, paired, best.negative, start.live), accepted)
        going = going & accepted
        local = _local(taps, best)


def _fitted(taps: Tensor, poles: Poles, limit: Tensor, slowest: float) -> Poles:
    """Fit poles to the taps until the limit is met."""
    local = _local(taps, poles)
    damping = torch.full_like(local.error, DAMPING)
    for _ in range(STEPS):
        if bool((local.error <= (0.7 * limit).square()).all()):
            break
        curvature = local.jacobian.mT @ local.jacobian
        ridge = torch.diag_embed(curvature.diagonal(dim1=-2, dim2=-1) * damping[:, None] + TINY)
        step = -torch.linalg.solve_ex(curvature + ridge, local.jacobian.mT @ local.residual[..., None])[0][..., 0].nan_to_num()
        step = step * (LARGEST_STEP / step.abs().amax(-1, keepdim=True).clamp_min(LARGEST_STEP))
        trial = poles.moved(step, slowest)
        found = _local(taps, trial)
        better = found.error < local.error
        poles = poles.chosen(trial, better)
        local = Local(
            torch.where(better, found.error, local.error),
            torch.where(better[:, None], found.residual, local.residual),
            torch.where(better[:, None, None], found.jacobian, local.jacobian),
            torch.where(better[:, None], found.missed, local.missed),
        )
        damping = (damping * torch.where(better, EASED, RAISED)).clamp(1e-12, 1e6)
    return poles


def _local(taps: Tensor, poles: Poles) -> Local:
    length, paired = taps.shape[-1], poles.paired[:, None]
    states = poles.parameters.shape[-1]
    first = torch.arange(states) % 2 == 0
    modes = pole_sequences(poles.values(), length).mT
    leading = torch.where(first | ~paired, modes, modes[..., [j - j % 2 for j in range(states)]])
    # A pair contributes 2 Re(residue mode) with two real unknowns.
    columns = torch.where(paired, torch.where(first, 2 * leading.real, -2 * leading.imag), modes.real) * poles.live[:, None]
    scale = columns.norm(dim=-2, keepdim=True).clamp_min(TINY)
    U, S, Vh = torch.linalg.svd(columns / scale, full_matrices=False)
    kept = FLAT * S[:, :1] < S
    inverse = torch.where(kept, 1 / S.clamp_min(TINY), 0.0)
    normalised = (Vh.mT @ (inverse * (U.mT @ taps[..., None])[..., 0])[..., None])[..., 0]
    residual = taps - (columns @ (normalised / scale[:, 0])[..., None])[..., 0]
    solved = normalised / scale[:, 0]
    other = swapped(solved)
    pair = torch.where(first, torch.complex(solved, other), torch.complex(other, solved))
    residue = torch.where(poles.paired, pair, solved + 0j)
    moving = torch.arange(length, dtype=torch.float64)[:, None] * leading * residue[:, None]
    nu = torch.where(first | ~poles.paired, poles.parameters, swapped(poles.parameters))
    widths = torch.exp(nu)[:, None]
    turned = torch.where(first | ~paired, -widths * moving.real, -widths.clamp_max(1.0) * moving.imag)
    turned = torch.where(paired, 2.0, 1.0) * turned * poles.live[:, None]
    # Kaufman: the part of the change that the residues cannot take up.
    basis = torch.where(kept[:, None], U, 0.0)
    jacobian = basis @ (basis.mT @ turned) - turned
    # Without a state the squared error rises by its coefficient squared over its diagonal of the inverse Gram matrix.
    spread = ((Vh.mT * inverse[:, None]).square()).sum(-1).clamp_min(TINY)
    missed = normalised.square() / spread
    missed = torch.where(poles.paired, missed + swapped(missed), missed)
    return Local(residual.square().sum(-1), residual, jacobian, missed)
