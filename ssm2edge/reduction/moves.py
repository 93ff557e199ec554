"""Changes of structure that the continuous parameters cannot make.

A conjugate pair that has come down to the real axis may want to become two real poles, and two real poles that have met may want
to leave as a pair.  The projected error is smooth across that line in the coefficients of the section's polynomial,
but not in (nu, theta); so the other structure is proposed, and refined, as a start of its own.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ssm2edge.reduction.sections import NU_MAX, Sections, first_of_pair, second_of_pair

# A pair is proposed to split when its angle to the real axis is below this many of its widths.
NEAR = 1.5


def moved_structures(sections: Sections) -> list[tuple[Sections, Tensor]]:
    """Return alternative structures to refine, each with the indices of the channels it is for."""
    return [_split_pair(sections), _joined_reals(sections)]


def _split_pair(sections: Sections) -> tuple[Sections, Tensor]:
    """Turn the pair nearest to the positive or negative real axis into two real poles of about the same sum and product."""
    parameters, paired = sections.parameters, sections.paired
    r = parameters.shape[-1]
    theta, nu = second_of_pair(parameters), first_of_pair(parameters)
    distance = torch.minimum(theta, math.pi - theta) * torch.exp(-nu)
    first = paired & (torch.arange(r) % 2 == 0)
    distance = torch.where(first, distance, torch.full_like(distance, torch.inf))
    nearest, place = distance.min(-1)
    where = torch.nonzero(nearest < NEAR)[:, 0]
    chosen = torch.arange(r) // 2 == place[where, None] // 2
    gap = nearest[where, None].clamp(0.05, 0.7)
    low, high = nu[where] + torch.log1p(-gap), nu[where] + torch.log1p(gap)
    reals = torch.where(torch.arange(r) % 2 == 0, low, high).clamp(math.log(sections.slowest), NU_MAX)
    negative = theta[where] > math.pi / 2
    return (
        Sections(
            torch.where(chosen, reals, parameters[where]),
            paired[where] & ~chosen,
            torch.where(chosen, negative, sections.negative[where]),
            sections.slowest,
        ),
        where,
    )


def _joined_reals(sections: Sections) -> tuple[Sections, Tensor]:
    """Turn the two nearest real poles of one sign that share a section into a pair at their mean."""
    parameters, paired = sections.parameters, sections.paired
    r = parameters.shape[-1]
    low, high = first_of_pair(parameters), second_of_pair(parameters)
    usable = ~paired & (torch.arange(r) % 2 == 0) & (torch.arange(r) + 1 < r)
    usable = usable & (sections.negative == second_of_pair(sections.negative))
    distance = torch.where(usable, (high - low).abs(), torch.full_like(low, torch.inf))
    nearest, place = distance.min(-1)
    where = torch.nonzero(torch.isfinite(nearest))[:, 0]
    chosen = torch.arange(r) // 2 == place[where, None] // 2
    decay, other = torch.exp(low[where]), torch.exp(high[where])
    mean = (decay + other) / 2
    theta = ((decay - other).abs() / 2).clamp_min(0.05 * mean).clamp_max(math.pi / 2)
    theta = torch.where(sections.negative[where], math.pi - theta, theta)
    pair = torch.where(torch.arange(r) % 2 == 0, torch.log(mean).clamp(math.log(sections.slowest), NU_MAX), theta)
    return (
        Sections(
            torch.where(chosen, pair, parameters[where]),
            paired[where] | chosen,
            sections.negative[where] & ~chosen,
            sections.slowest,
        ),
        where,
    )
