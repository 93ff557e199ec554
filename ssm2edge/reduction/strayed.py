"""Originals with poles on or outside the unit circle, which are reduced by stable systems on a finite horizon.

Their response is a finite sum, and so are their Gramians.  What picks modes of the original picks unstable ones, too: they are
brought into the disc, and the outputs are fitted again.

One slow mode does not grow; several together do, as far as the horizon.  ``exp(sigma k)`` on N taps is a Fourier series, whose
terms near the mode's own angle theta are modes themselves, ``theta + pi j / N``.
"""

from __future__ import annotations

import math

import torch

from ssm2edge.reduction.balanced import put
from ssm2edge.reduction.contract import Outcome, Reduction, summarise
from ssm2edge.reduction.modal import mode_strength
from ssm2edge.reduction.projection import with_best_outputs
from ssm2edge.reduction.sections import slowest_decay
from ssm2edge.systems.stability import into_disc, is_stable
from ssm2edge.systems.system import System
from ssm2edge.systems.tie import canonical_order
from ssm2edge.systems.window import geometric_sum


def stabilised(original: System, reduced: System, horizon: int | None) -> System:
    """Return the systems with strayed poles brought into the disc, and the best outputs for them."""
    strayed = ~is_stable(reduced)
    if not strayed.any():
        return reduced
    poles = into_disc(reduced.poles[strayed], math.exp(-slowest_decay(original.poles, horizon)))
    return put(reduced, strayed, with_best_outputs(original[strayed], poles, reduced.B[strayed], horizon))


REACHES = (1, 2, 4)
"""Numbers of terms on either side of an unstable mode that are tried."""


def fourier_starts(system: System, order: int, horizon: int | None) -> list[System]:
    """Return starts for unstable systems; none for stable ones, and for orders that pairs cannot fill."""
    if horizon is None or order % 2 or system.order < 2 or bool(is_stable(system).all()):
        return []
    return [fourier_start(system, order, horizon, reach) for reach in REACHES]


def fourier_start(system: System, order: int, horizon: int, reach: int) -> System:
    """Return sections of the original picked by energy, unstable ones as Fourier series, with the best outputs.

    Parameters
    ----------
    system
        ``(batch,)``, in canonical order with real B at real poles.
    order
        Even.
    horizon
        Taps.
    reach
        Terms on either side of each unstable mode, at most.
    """
    radius = math.exp(-slowest_decay(system.poles, horizon))
    even = system.order // 2 * 2
    modulus = system.poles.abs()
    energy = mode_strength(system) * geometric_sum(modulus.square(), horizon)
    own = energy[:, 0:even:2] + energy[:, 1:even:2]
    unstable = modulus[:, 0:even:2].maximum(modulus[:, 1:even:2]) >= 1
    # Sections as they are, then the terms: pairs at other angles with the first state's input row.
    sections = torch.stack((into_disc(system.poles, radius)[:, 0:even:2], into_disc(system.poles, radius)[:, 1:even:2]), -1)
    rows = torch.stack((system.B[:, 0:even:2], system.B[:, 1:even:2]), -2)
    offsets = torch.tensor([j for j in range(-reach, reach + 1) if j], dtype=torch.float64)
    angles = (system.poles[:, 0:even:2].angle()[..., None] + math.pi / horizon * offsets).clamp(1e-9, math.pi - 1e-9)
    upper = torch.polar(torch.full_like(angles, radius), angles)
    # The terms of a Fourier series of a sequence with a jump in its slope fall with the square.
    share = torch.where(unstable, own, -torch.inf)[..., None] / (1 + offsets.square()).square()
    poles = torch.cat((sections, torch.stack((upper, upper.conj()), -1).flatten(1, 2)), 1)
    pair = torch.stack((rows[:, :, 0], rows[:, :, 0].conj()), -2)
    inputs = torch.cat((rows, pair[:, :, None].expand(-1, -1, len(offsets), -1, -1).flatten(1, 2)), 1)
    chosen = torch.cat((own, share.flatten(1)), -1).topk(order // 2, -1).indices
    poles = poles.gather(1, chosen[..., None].expand(-1, -1, 2)).flatten(1)
    B = inputs.gather(1, chosen[..., None, None].expand(-1, -1, 2, system.inputs)).flatten(1, 2)
    places = canonical_order(poles.imag == 0)
    poles, B = poles.gather(-1, places), B.take_along_dim(places[..., None], -2)
    return with_best_outputs(system, poles, B, horizon)


def stable_result(original: System, reduction: Reduction) -> Reduction:
    """Return a reduction whose systems are stable; the outcome of those that were not is ``REPAIRED``."""
    strayed = ~is_stable(reduction.system)
    if not strayed.any():
        return reduction
    outcomes = torch.where(strayed, int(Outcome.REPAIRED), reduction.outcomes)
    reduced = stabilised(original, reduction.system, reduction.horizon)
    return summarise(original, reduced, reduction.method, reduction.horizon, outcomes, reduction.iterations)
