"""The search for the best poles of SISO channels: many starts, few survivors, one polish.

1. Candidates: the given starts (TLH2, balanced truncation), greedy picks, and the best of many randomised greedy picks.
2. Each gets a few Newton steps; the best two per channel go on.
3. Rounds of exchange: the section missed least is moved to where most is left to gain; structures change between pairs and reals.
4. The best of each channel is polished to convergence.

Nothing is lost on the way: each step keeps the better of what was and what is new.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ssm2edge.reduction.greedy import Dictionary, dictionary_of, exchanged, pick, picked_sections
from ssm2edge.reduction.moves import moved_structures
from ssm2edge.reduction.newton import Channels, Minimum, evaluate, minimise
from ssm2edge.reduction.sections import Sections

SEED = 0
RANDOM_PICKS = 24
PICK_NOISE = 0.4
SURVIVING_PICKS = 6
SHORT, MEDIUM, LONG = 8, 20, 60
EXCHANGES = 8
EXCHANGE_NOISE = 0.5
# After a short run a candidate goes on only if its squared error is within this factor of the best known one.
PROMISING = 1.03


def search(channels: Channels, starts: list[Sections], order: int, rivals: list[Sections]) -> Minimum:
    """Return the best minimum found for each channel; never worse than any start or rival.

    Rivals are starts that seldom win: they are refined only where they are still the best as they stand at the end.
    """
    dictionary = dictionary_of(channels, starts[0].slowest)
    candidates = starts + greedy_candidates(dictionary, order)
    short = [minimise(channels, candidate, SHORT) for candidate in candidates]
    best, second = two_best(short)
    best = better_of(minimise(channels, best.sections, MEDIUM), minimise(channels, second.sections, MEDIUM))
    generator = torch.Generator().manual_seed(SEED)
    for attempt in range(EXCHANGES if order > 1 else 0):
        noise = EXCHANGE_NOISE if attempt else 0.0
        best = try_out(channels, best, exchanged(dictionary, channels, best.sections, noise, generator))
    for candidate, where in moved_structures(best.sections):
        if len(where):
            best = try_out(channels, best, candidate, where)
    unpolished = torch.nonzero(~best.converged)[:, 0]
    best = better_of(best, minimise(channels[unpolished], best.sections[unpolished], LONG), unpolished)
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


def try_out(channels: Channels, best: Minimum, candidate: Sections, where: Tensor | None = None) -> Minimum:
    """Give a candidate a short run, more where it promises something, and keep the better."""
    if where is None:
        where = torch.arange(len(best.value))
    short = minimise(channels[where], candidate, SHORT)
    promising = torch.nonzero(short.value < PROMISING * best.value[where])[:, 0]
    best = better_of(best, short, where)
    if len(promising):
        where = where[promising]
        best = better_of(best, minimise(channels[where], short.sections[promising], MEDIUM), where)
    return best


def two_best(minima: list[Minimum]) -> tuple[Minimum, Minimum]:
    """Return the best and the second best, per channel."""
    ranking = torch.stack([minimum.value for minimum in minima]).argsort(0)
    iterations = torch.stack([minimum.iterations for minimum in minima]).sum(0)
    return _gathered(minima, ranking[0], iterations), _gathered(minima, ranking[1], iterations)


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
    """Return the better minimum per channel; ``where`` are the channels that ``other`` speaks of (all by default).

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
