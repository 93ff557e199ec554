"""h2-optimal reduction: TLH2 start, second-order refinement in a parameterisation that cannot leave the unit disc.

SISO channels go through the search of ``search.py``, whose starts include every other method's poles: with the outputs fitted
anew, no channel ends worse than any of them.
"""

from __future__ import annotations

import torch

from ssm2edge.reduction.aire import aire_scores
from ssm2edge.reduction.balanced import balance, put, truncated
from ssm2edge.reduction.contract import Outcome, Reduction, summarise
from ssm2edge.reduction.coupled import Refined, refine
from ssm2edge.reduction.last import last_scores
from ssm2edge.reduction.modal import keep_modes, slowness
from ssm2edge.reduction.newton import channels_of
from ssm2edge.reduction.projection import refit_channels, with_best_outputs
from ssm2edge.reduction.search import search
from ssm2edge.reduction.sections import sections_of, slowest_decay
from ssm2edge.reduction.singular_perturbation import perturbed
from ssm2edge.reduction.tlh2 import tlh2_from
from ssm2edge.systems.norms import h2_error
from ssm2edge.systems.system import System

# Relative differences of errors below this are rounding: no fall-back is reported for them.
TIE = 1e-6
# Starts of a MIMO or quadratic-output system that are refined.
COUPLED_STARTS = 3


def gradient(system: System, order: int, horizon: int | None) -> Reduction:
    """Reduce by refinement, started from TLH2, balanced truncation and picks of modes."""
    if system.is_siso and system.M is None:
        return channel_gradient(system, order, horizon)
    return coupled_gradient(system, order, horizon)


def coupled_gradient(system: System, order: int, horizon: int | None) -> Reduction:
    """Refine MIMO systems and quadratic outputs: each start gets its outputs fitted, the best few are refined."""
    balancing = balance(system, order, horizon)
    truncation, ended = truncated(system, balancing, horizon)
    balanced = summarise(system, truncation, "balanced", horizon, ended)
    fixed_point = tlh2_from(system, balanced, horizon)
    picks = [keep_modes(system, scores(system), order)[0] for scores in (slowness, last_scores, aire_scores)]
    starts = [fixed_point.system, truncation, perturbed(system, balancing, horizon)[0], *picks]
    starts = [with_best_outputs(system, start.poles, start.B, horizon) for start in starts]
    errors = torch.stack([h2_error(system, start, horizon) for start in starts])
    ranking = errors.nan_to_num(torch.inf, torch.inf, torch.inf).argsort(0)
    best: Refined | None = None
    for place in range(COUPLED_STARTS):
        chosen = starts[0]
        for i, start in enumerate(starts):
            here = ranking[place] == i
            chosen = put(chosen, here, start[here])
        refined = refine(system, chosen, horizon)
        best = refined if best is None else _better(best, refined)
    assert best is not None
    outcomes = torch.where(best.converged, int(Outcome.CONVERGED), int(Outcome.STOPPED))
    result = summarise(system, best.system, "gradient", horizon, outcomes, best.iterations)
    return never_worse(system, result, [fixed_point, balanced, *(summarise(system, s, "start", horizon) for s in starts)])


def _better(best: Refined, other: Refined) -> Refined:
    improved = other.value < best.value
    return Refined(
        put(best.system, improved, other.system[improved]),
        torch.where(improved, other.value, best.value),
        best.iterations + other.iterations,
        torch.where(improved, other.converged, best.converged),
    )


def channel_gradient(system: System, order: int, horizon: int | None) -> Reduction:
    """Refine SISO channels by the search, all at once."""
    balancing = balance(system, order, horizon)
    truncation, ended = truncated(system, balancing, horizon)
    balanced = summarise(system, truncation, "balanced", horizon, ended)
    starts = [tlh2_from(system, balanced, horizon), balanced]
    channels = channels_of(system, horizon)
    rivals = [perturbed(system, balancing, horizon)[0]]
    # Modal singular perturbation has the poles of modal truncation.
    rivals += [keep_modes(system, scores(system), order)[0] for scores in (slowness, last_scores, aire_scores)]
    slowest = slowest_decay(system.poles, horizon)
    best = search(
        channels,
        [sections_of(start.system.poles, slowest) for start in starts],
        order,
        [sections_of(rival.poles, slowest) for rival in rivals],
    )
    reduced = refit_channels(system, best.sections.poles(), horizon)
    outcomes = torch.where(best.converged, int(Outcome.CONVERGED), int(Outcome.STOPPED))
    result = summarise(system, reduced, "gradient", horizon, outcomes, best.iterations)
    # Rivals with their exact best outputs are at least as good as they are by themselves, whatever the ridge costs.
    exact = [with_best_outputs(system, rival.poles, rival.B, horizon, ridge=0.0) for rival in rivals]
    return never_worse(system, result, starts + [summarise(system, rival, "rival", horizon) for rival in exact])


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
