"""h2-optimal reduction: TLH2 start, second-order refinement in a parameterisation that cannot leave the unit disc.

SISO channels go through the search of ``search.py``, whose starts include every other method's poles: with the outputs fitted
anew, no channel ends worse than any of them.
"""

from __future__ import annotations

import torch

from ssm2edge.reduction.aire import aire_scores
from ssm2edge.reduction.balanced import balance, put, truncated
from ssm2edge.reduction.contract import Outcome, Reduction, summarise
from ssm2edge.reduction.last import last_scores
from ssm2edge.reduction.modal import keep_modes, slowness
from ssm2edge.reduction.newton import channels_of
from ssm2edge.reduction.projection import refit_channels
from ssm2edge.reduction.search import search
from ssm2edge.reduction.sections import sections_of
from ssm2edge.reduction.singular_perturbation import perturbed
from ssm2edge.reduction.tlh2 import tlh2_from
from ssm2edge.systems.system import System

# Relative differences of errors below this are rounding: no fall-back is reported for them.
TIE = 1e-6


def gradient(system: System, order: int, horizon: int | None) -> Reduction:
    """Reduce by refinement, started from TLH2, balanced truncation and greedy picks."""
    balancing = balance(system, order, horizon)
    truncation, ended = truncated(system, balancing, horizon)
    balanced = summarise(system, truncation, "balanced", horizon, ended)
    starts = [tlh2_from(system, balanced, horizon), balanced]
    channels = channels_of(system, horizon)
    rivals = [perturbed(system, balancing, horizon)[0]]
    # Modal singular perturbation has the poles of modal truncation.
    rivals += [keep_modes(system, scores(system), order)[0] for scores in (slowness, last_scores, aire_scores)]
    best = search(channels, [sections_of(start.system.poles) for start in starts], order, [sections_of(r.poles) for r in rivals])
    reduced = refit_channels(system, best.sections.poles(), horizon)
    outcomes = torch.where(best.converged, int(Outcome.CONVERGED), int(Outcome.STOPPED))
    result = summarise(system, reduced, "gradient", horizon, outcomes, best.iterations)
    return never_worse(system, result, starts)


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
