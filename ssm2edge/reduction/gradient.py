"""h2-optimal reduction by second-order refinement in a parameterisation that cannot leave the unit disc.

The poles of several starts are refined by ``newton.py`` with the outputs eliminated, and the best result of each channel is kept,
so that no channel ends worse than any of its starts.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ssm2edge.reduction.balanced import balanced_truncation, put
from ssm2edge.reduction.contract import Outcome, Reduction, summarise
from ssm2edge.reduction.moves import moved_structures
from ssm2edge.reduction.newton import Channels, Minimum, minimise
from ssm2edge.reduction.projection import refit_channels
from ssm2edge.reduction.sections import Sections, sections_of
from ssm2edge.reduction.tlh2 import tlh2_from
from ssm2edge.systems.norms import h2_norm
from ssm2edge.systems.system import System

STEPS = 60
# Relative differences of errors below this are rounding: no fall-back is reported for them.
TIE = 1e-6


def gradient(system: System, order: int, horizon: int | None) -> Reduction:
    """Reduce by refinement, started from TLH2 and from balanced truncation."""
    balanced = balanced_truncation(system, order, horizon)
    fixed_point = tlh2_from(system, balanced, horizon)
    return refine_channels(system, [fixed_point, balanced], horizon)


def refine_channels(system: System, starts: list[Reduction], horizon: int | None) -> Reduction:
    """Refine SISO channels from each start and keep the best result per channel; never worse than the best start."""
    energy = h2_norm(system, horizon).square() - system.D[..., 0, 0].square()
    channels = Channels(system.poles, system.residues, energy, horizon)
    best = minimise(channels, sections_of(starts[0].system.poles), STEPS)
    for start in starts[1:]:
        best = better_of(best, minimise(channels, sections_of(start.system.poles), STEPS))
    for candidate, where in moved_structures(best.sections):
        if len(where):
            best = better_of(best, minimise(channels[where], candidate, STEPS), where)
    reduced = refit_channels(system, best.sections.poles(), horizon)
    outcomes = torch.where(best.converged, int(Outcome.CONVERGED), int(Outcome.STOPPED))
    result = summarise(system, reduced, "gradient", horizon, outcomes, best.iterations)
    return never_worse(system, result, starts)


def better_of(best: Minimum, other: Minimum, where: Tensor | None = None) -> Minimum:
    """Return the better minimum per channel; ``where`` are the channels that ``other`` speaks of (all by default).

    Iterations add up: they count the work spent on a channel.
    """
    if where is None:
        where = torch.arange(len(best.value))
    improved = other.value < best.value[where]
    chosen = where[improved]

    def merge(a: Tensor, b: Tensor) -> Tensor:
        merged = a.clone()
        merged[chosen] = b[improved]
        return merged

    iterations = best.iterations.clone()
    iterations[where] += other.iterations
    a, b = best.sections, other.sections
    return Minimum(
        Sections(merge(a.parameters, b.parameters), merge(a.paired, b.paired), merge(a.negative, b.negative)),
        merge(best.value, other.value),
        iterations,
        merge(best.converged, other.converged),
    )


def never_worse(system: System, result: Reduction, starts: list[Reduction]) -> Reduction:
    """Put a start back where it is better than the result, be it by rounding only, in which case the outcome stands."""
    reduced, outcomes, error = result.system, result.outcomes, result.error
    for start in starts:
        lost = ~(error <= start.error)
        if lost.any():
            reduced = put(reduced, lost, start.system[lost])
            outcomes = torch.where(error > start.error * (1 + TIE), int(Outcome.FELL_BACK), outcomes)
            error = torch.where(lost, start.error, error)
    return summarise(system, reduced, result.method, result.horizon, outcomes, result.iterations)
