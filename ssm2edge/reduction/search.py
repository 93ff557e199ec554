"""The search for the best poles of SISO channels: many starts, few survivors, one polish.

1. Candidates: the given starts (TLH2, balanced truncation), greedy picks, the best of many randomised greedy picks, and at large
   orders random picks of the channel's own modes.
2. Each gets a few Newton steps; the best few per channel get more.
3. Rounds of exchange (``exchange.py``) from the best one or two; structures change between pairs and reals.
4. At the largest orders, channels that are nearly exact start again from random picks with long runs: a few steps say little
   about the end of a run there.
5. The best of each channel is polished to convergence.

Nothing is lost on the way: each step keeps the better of what was and what is new.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ssm2edge.reduction.exchange import exchanged, untried
from ssm2edge.reduction.greedy import Dictionary, dictionary_of, pick, picked_sections
from ssm2edge.reduction.moves import moved_structures
from ssm2edge.reduction.newton import Channels, Minimum, evaluate, minimise
from ssm2edge.reduction.sections import Sections

SEED = 0
RANDOM_PICKS = 24
PICK_NOISE = 0.4
SURVIVING_PICKS = 6
SHORT, MEDIUM, LONG, POLISH = 8, 20, 60, 240
# Minima whose squared errors differ by less than this, relatively, are taken for one.
DISTINCT = 1e-6
# After a short run a candidate goes on only if its squared error is within this factor of the best known one.
PROMISING = 1.03


@dataclass(frozen=True)
class Effort:
    """Budget of a search.

    Random picks of modes among the starts, starts kept, starts that see exchanges, rounds of those, and restarts of channels that
    are nearly exact.
    """

    modal_picks: int
    survivors: int
    chains: int
    exchanges: int
    restarts: int = 0


# The choice of poles is a combinatorial one: what few states need is not enough for many.
LARGE, LARGEST = 8, 16
SMALL_EFFORT = Effort(modal_picks=0, survivors=2, chains=1, exchanges=6)
LARGE_EFFORT = Effort(modal_picks=8, survivors=3, chains=2, exchanges=16)
LARGEST_EFFORT = Effort(modal_picks=8, survivors=3, chains=2, exchanges=16, restarts=16)
# Share of a channel's energy below which its squared error counts as nearly nothing.
NEARLY_EXACT = 0.02


def search(channels: Channels, starts: list[Sections], order: int, rivals: list[Sections]) -> Minimum:
    """Return the best minimum found for each channel; never worse than any start or rival.

    Rivals are starts that seldom win: they are refined only where they are still the best as they stand at the end.
    """
    effort = LARGEST_EFFORT if order > LARGEST else LARGE_EFFORT if order > LARGE else SMALL_EFFORT
    dictionary = dictionary_of(channels, starts[0].slowest)
    candidates = starts + greedy_candidates(dictionary, order) + modal_candidates(dictionary, channels, order, effort.modal_picks)
    survivors = ranked([minimise(channels, candidate, SHORT) for candidate in candidates], effort.survivors)
    survivors = [better_of(one, minimise(channels, one.sections, MEDIUM)) for one in survivors]
    chains = ranked(survivors, effort.chains)
    best = ranked([exchange_rounds(dictionary, channels, one, effort.exchanges) for one in chains], 1)[0]
    for candidate, where in moved_structures(best.sections):
        if len(where):
            best = try_out(channels, best, candidate, where)
    if effort.restarts:
        best = restarted(dictionary, channels, best, effort)
    unpolished = torch.nonzero(~best.converged)[:, 0]
    best = better_of(best, minimise(channels[unpolished], best.sections[unpolished], POLISH), unpolished)
    for start in starts + rivals:
        where = torch.nonzero(evaluate(channels, start).value < best.value)[:, 0]
        if len(where):
            best = better_of(best, minimise(channels[where], start[where], LONG), where)
    return best


def greedy_candidates(dictionary: Dictionary, order: int) -> list[Sections]:
    """Return plain greed's pick, and the randomised picks that capture most, as sections."""
    generator = torch.Generator().manual_seed(SEED)
    count = (order + 1) // 2
    plain, _ = pick(dictionary, count, 0.0, generator)
    several = [pick(dictionary, count, PICK_NOISE, generator) for _ in range(RANDOM_PICKS)]
    captured = torch.stack([c for _, c in several])
    # The same set picked in another order captures the same: it must not survive twice.
    ordered, order_of = captured.sort(0, descending=True)
    fresh = torch.ones_like(ordered, dtype=torch.bool)
    fresh[1:] = (ordered[:-1] - ordered[1:]) > 1e-9 * ordered[:-1]
    ranking = torch.argsort((~fresh).to(torch.int8), dim=0, stable=True)
    picks = torch.stack([p for p, _ in several])
    rows = torch.arange(captured.shape[1])
    chosen = [order_of.gather(0, ranking)[place] for place in range(SURVIVING_PICKS)]
    return [picked_sections(dictionary, p, order) for p in (plain, *(picks[place, rows] for place in chosen))]


def modal_candidates(dictionary: Dictionary, channels: Channels, order: int, number: int, seed: int = SEED) -> list[Sections]:
    """Return random picks of the channels' own modes, the chance of each growing with its energy."""
    generator = torch.Generator().manual_seed(seed)
    count = (order + 1) // 2
    energy = channels.residues.abs().square() / (1 - channels.poles.abs().square()).clamp_min(1e-12)
    if count > energy.shape[-1]:
        return []
    # The first atoms of a dictionary are the modes themselves.
    scores = [energy * torch.rand(energy.shape, dtype=torch.float64, generator=generator) for _ in range(number)]
    return [picked_sections(dictionary, score.topk(count, -1).indices, order) for score in scores]


def restarted(dictionary: Dictionary, channels: Channels, best: Minimum, effort: Effort) -> Minimum:
    """Start channels that are nearly exact again from random picks of their modes, with long runs, and exchanges for the best."""
    rugged = torch.nonzero(best.value < NEARLY_EXACT * channels.energy)[:, 0]
    order = best.sections.parameters.shape[-1]
    if not len(rugged):
        return best
    some, atoms = channels[rugged], dictionary[rugged]
    picks = modal_candidates(atoms, some, order, effort.restarts, SEED + 1)
    ends = ranked([minimise(some, pick, LONG) for pick in picks], effort.chains) if picks else []
    for end in ends:
        best = better_of(best, exchange_rounds(atoms, some, end, effort.exchanges), rugged)
    return best


def exchange_rounds(dictionary: Dictionary, channels: Channels, best: Minimum, rounds: int) -> Minimum:
    """Try the most promising exchanges one after the other; after each success all may be tried again."""
    order = best.sections.parameters.shape[-1]
    tried = untried(dictionary, order)
    for _ in range(rounds if order > 1 else 0):
        before = best.value
        best = try_out(channels, best, exchanged(dictionary, channels, best.sections, tried))
        tried[best.value < before] = False
    return best


def try_out(channels: Channels, best: Minimum, candidate: Sections, where: Tensor | None = None) -> Minimum:
    """Give a candidate a short run, a longer one if it promises something, and keep the better."""
    if where is None:
        where = torch.arange(len(best.value))
    short = minimise(channels[where], candidate, SHORT)
    promising = torch.nonzero(short.value < PROMISING * best.value[where])[:, 0]
    best = better_of(best, short, where)
    if len(promising):
        where = where[promising]
        best = better_of(best, minimise(channels[where], short.sections[promising], MEDIUM), where)
    return best


def ranked(minima: list[Minimum], places: int) -> list[Minimum]:
    """Return the best, the second best and so on, per channel; one and the same minimum counts once while others are left.

    The first carries the iterations of all.
    """
    values, ranking = torch.stack([minimum.value for minimum in minima]).sort(0)
    again = torch.zeros_like(values, dtype=torch.bool)
    again[1:] = values[1:] - values[:-1] <= DISTINCT * values[1:].abs()
    ranking = ranking.gather(0, torch.argsort(again.to(torch.int8), dim=0, stable=True))
    iterations = torch.stack([minimum.iterations for minimum in minima]).sum(0)
    return [_gathered(minima, ranking[i], iterations if i == 0 else torch.zeros_like(iterations)) for i in range(places)]


def _gathered(minima: list[Minimum], which: Tensor, iterations: Tensor) -> Minimum:
    rows = torch.arange(len(which))

    def take(parts: list[Tensor]) -> Tensor:
        return torch.stack(parts)[which, rows]

    sections = Sections(
        take([m.sections.parameters for m in minima]),
        take([m.sections.paired for m in minima]),
        take([m.sections.negative for m in minima]),
        minima[0].sections.slowest,
    )
    return Minimum(sections, take([m.value for m in minima]), iterations, take([m.converged for m in minima]))


def better_of(best: Minimum, other: Minimum, where: Tensor | None = None) -> Minimum:
    """Return the better minimum per channel; ``other`` holds the channels at ``where`` (all by default).

    Iterations add up: they count the work spent on a channel.
    """
    if where is None:
        where = torch.arange(len(best.value))
    # A continued run of the same sections that ends at the same value brings its convergence along.
    improved = (other.value < best.value[where]) | ((other.value == best.value[where]) & other.converged)
    chosen = where[improved]

    def merge(a: Tensor, b: Tensor) -> Tensor:
        merged = a.clone()
        merged[chosen] = b[improved]
        return merged

    iterations = best.iterations.clone()
    iterations[where] += other.iterations
    a, b = best.sections, other.sections
    return Minimum(
        Sections(merge(a.parameters, b.parameters), merge(a.paired, b.paired), merge(a.negative, b.negative), a.slowest),
        merge(best.value, other.value),
        iterations,
        merge(best.converged, other.converged),
    )
