"""h2-optimal reduction: TLH2 start, second-order refinement in a parameterisation that cannot leave the unit disc.

SISO channels go through the search of ``search.py``, whose starts include every other method's poles: with the outputs fitted
anew, no channel ends worse than any of them.  Channels whose modes cancel beyond float32, and unstable ones, are grown instead
(``growing.py``).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ssm2edge.reduction.aire import aire_scores
from ssm2edge.reduction.balanced import balance, put, truncated
from ssm2edge.reduction.contract import Outcome, Reduction, summarise
from ssm2edge.reduction.coupled import ranked, refine_best
from ssm2edge.reduction.device import cancels, grown_channels, with_limits
from ssm2edge.reduction.last import last_scores
from ssm2edge.reduction.modal import keep_modes, slowness
from ssm2edge.reduction.newton import Channels, Minimum, channels_of, minimise
from ssm2edge.reduction.projection import memory, refit_channels, rounding_energy, with_best_outputs
from ssm2edge.reduction.search import LONG, search
from ssm2edge.reduction.sections import sections_of, slowest_decay
from ssm2edge.reduction.singular_perturbation import perturbed
from ssm2edge.reduction.strayed import fourier_starts, stabilised
from ssm2edge.reduction.tlh2 import tlh2_from
from ssm2edge.systems.norms import h2_error, h2_norm
from ssm2edge.systems.rounding import recurrence_noise
from ssm2edge.systems.stability import is_stable
from ssm2edge.systems.system import System, concatenate
from ssm2edge.systems.window import window_sum

# Relative differences of errors below this are rounding: no fall-back is reported for them.
TIE = 1e-6
# Squared errors known less exactly than this, relatively, are not compared.
VAGUE = 1e-3
# Starts of a MIMO or quadratic-output system from which the fixed-point iteration runs.
FIXED_POINTS = 3
# Ridge of the last polish.  By the count of ``projection.RIDGE`` the noise of a float32 recurrence stays below 0.4 % of the root
# of what is minimised, the error and the ridge's share.
LAST_RIDGE = 1e-10
# It is for channels whose minimised value exceeds the squared error by this factor.
HELD = 1.02
# Noise of a float32 recurrence, relative to the channel's norm, above which pairs that all but meet on the real axis are parted.
LOUD = 1e-3
# Their least imaginary part, relative to the distance from the unit circle.
APART = 1e-2


def gradient(system: System, order: int, horizon: int | None) -> Reduction:
    """Reduce by refinement, started from TLH2, balanced truncation and picks of modes."""
    if not system.is_siso or system.M is not None:
        return coupled_gradient(system, order, horizon)
    cancelling = cancels(system)
    lost = cancelling | ~is_stable(system)
    parts = [channel_gradient(system[~lost], order, horizon)] if not lost.all() else []
    parts += [cancelling_gradient(system[lost], order, horizon, cancelling[lost])] if lost.any() else []
    if len(parts) == 1:
        return parts[0]
    places = torch.argsort(lost.to(torch.int8), stable=True).argsort()
    outcomes, iterations = (torch.cat([getattr(part, name) for part in parts])[places] for name in ("outcomes", "iterations"))
    reduced = concatenate([part.system for part in parts])[places]
    return summarise(system, reduced, "gradient", horizon, outcomes, iterations)


def cancelling_gradient(system: System, order: int, horizon: int | None, cancelling: Tensor) -> Reduction:
    """Grow the poles of SISO channels whose modes cancel, or that are unstable, on the taps of their responses."""
    reduced, end = grown_channels(system, order, horizon)
    outcomes = torch.where(end.converged, int(Outcome.CONVERGED), int(Outcome.STOPPED))
    return with_limits(summarise(system, reduced, "gradient", horizon, outcomes, end.iterations), cancelling)


def coupled_gradient(system: System, order: int, horizon: int | None) -> Reduction:
    """Refine MIMO systems and quadratic outputs."""
    balancing = balance(system, order, horizon)
    truncation, ended = truncated(system, balancing, horizon)
    balanced = summarise(system, truncation, "balanced", horizon, ended)
    picks = [keep_modes(system, scores(system), order)[0] for scores in (slowness, last_scores, aire_scores)]
    starts = [truncation, perturbed(system, balancing, horizon)[0], *picks]
    starts = [stabilised(system, with_best_outputs(system, start.poles, start.B, horizon), horizon) for start in starts]
    starts += fourier_starts(system, order, horizon)
    known = [balanced, *(summarise(system, start, "start", horizon) for start in starts)]
    # The method called TLH2 is the fixed point reached from balanced truncation.
    known += [tlh2_from(system, start, horizon) for start in (balanced, *ranked(system, known, horizon)[:FIXED_POINTS])]
    best = refine_best(system, ranked(system, known, horizon), horizon)
    outcomes = torch.where(best.converged, int(Outcome.CONVERGED), int(Outcome.STOPPED))
    result = summarise(system, best.system, "gradient", horizon, outcomes, best.iterations)
    return never_worse(system, result, known)


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
    reduced, converged, iterations = last_polish(system, channels, best)
    reduced = parted(system, reduced, horizon)
    outcomes = torch.where(converged, int(Outcome.CONVERGED), int(Outcome.STOPPED))
    result = summarise(system, reduced, "gradient", horizon, outcomes, iterations)
    exact = [summarise(system, with_exact_outputs(system, rival, horizon), "rival", horizon) for rival in rivals]
    return never_worse(system, result, starts + exact)


def last_polish(system: System, channels: Channels, best: Minimum) -> tuple[System, Tensor, Tensor]:
    """Return the reduced channels, polished with a lighter ridge where the ridge and not the error decided.

    Also return which have converged, and the iterations of each.

    The search needs the ridge to separate good poles from poles that only cancel.  After it, the ridge would keep errors below
    about a thousandth of the norm several times too large.
    """
    horizon = channels.horizon
    reduced = refit_channels(system, best.sections.poles(), horizon)
    error = h2_error(system, reduced, horizon)
    held = torch.nonzero(best.value > HELD * error.square())[:, 0]
    if not len(held):
        return reduced, best.converged, best.iterations
    last = minimise(replace(channels[held], ridge=LAST_RIDGE), best.sections[held], LONG)
    closer = refit_channels(system[held], last.sections.poles(), horizon, LAST_RIDGE)
    improved = h2_error(system[held], closer, horizon) < error[held]
    where, converged, iterations = torch.zeros_like(best.converged), best.converged.clone(), best.iterations.clone()
    where[held] = improved
    converged[where] = last.converged[improved]
    iterations[held] += last.iterations
    return put(reduced, where, closer[improved]), converged, iterations


def parted(system: System, reduced: System, horizon: int | None) -> System:
    """Return the channels, those of them parted whose pairs have all but met on the real axis.

    The residues of such a pair are large and imaginary.  The ridge weighs the pair's two real columns by their own norms, one of
    which is almost nothing, and does not see it.  A device has two real states for the pair, both of which take the input: they
    are nearly equal, and large outputs of opposite signs cancel in float32.
    """
    loud = recurrence_noise(reduced) > LOUD * h2_norm(system, horizon)
    if not loud.any():
        return reduced
    poles = reduced.poles[loud]
    least = APART * (1 - poles.abs())
    met = (poles.imag != 0) & (poles.imag.abs() < least)
    moved = torch.where(met, torch.complex(poles.real, poles.imag.sign() * least), poles)
    return put(reduced, loud, refit_channels(system[loud], moved, horizon))


def with_exact_outputs(system: System, rival: System, horizon: int | None) -> System:
    """Return SISO rivals with their exact best outputs: at least as good as they are by themselves, whatever a ridge costs.

    Poles that nearly meet have residues so large that the error is rounding, and zero at times.  Such a rival keeps the outputs
    it has.
    """
    exact = with_best_outputs(system, rival.poles, rival.B, horizon, ridge=0.0)
    memories = memory(window_sum(exact.poles, exact.poles, horizon), exact.poles.imag != 0)
    lost = ~(rounding_energy(exact.residues, memories) < VAGUE * h2_error(system, exact, horizon).square())
    return put(exact, lost, rival.with_output(rival.C, system.D)[lost]) if lost.any() else exact


def never_worse(system: System, result: Reduction, starts: list[Reduction]) -> Reduction:
    """Put back each start that is better than the result; if it is so by rounding only, the outcome stays."""
    reduced, outcomes, error = result.system, result.outcomes, result.error
    for start in starts:
        theirs = start.error
        lost = ~(error <= theirs)
        if lost.any():
            reduced = put(reduced, lost, start.system[lost])
            outcomes = torch.where(error > theirs * (1 + TIE), int(Outcome.FELL_BACK), outcomes)
            error = torch.where(lost, theirs, error)
    return summarise(system, reduced, result.method, result.horizon, outcomes, result.iterations)
