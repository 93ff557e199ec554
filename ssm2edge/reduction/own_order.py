"""Systems that keep all their states; they are returned as they are, unless no device could run them.

The modes of a state matrix that is far from normal, as HiPPO's are, cancel: their residues are many times larger than the
response, and a device in float32 that rounds them computes noise.  Such channels get other poles of the same number
(``growing.py``).  Unstable systems would blow up in a stream: on their horizon they get stable poles of the same number.  Both
cost a small h2 error, reported like any other.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ssm2edge.reduction.balanced import put
from ssm2edge.reduction.contract import Outcome, Reduction, summarise
from ssm2edge.reduction.coupled import ranked, refine_best
from ssm2edge.reduction.device import cancels, grown_channels
from ssm2edge.reduction.projection import with_best_outputs
from ssm2edge.reduction.sections import slowest_decay
from ssm2edge.reduction.strayed import fourier_starts
from ssm2edge.systems.dense import with_real_coefficients
from ssm2edge.systems.stability import into_disc, is_stable
from ssm2edge.systems.system import System


def own_order(system: System, method: str, horizon: int | None) -> Reduction:
    """Return systems of their own order that float32 can hold, stable ones."""
    as_it_is = summarise(system, system, method, horizon, Outcome.IDENTITY)
    lost = cancels(system) | ~is_stable(system)
    if not lost.any():
        return as_it_is
    part = with_real_coefficients(system[lost])
    calm, iterations = (_channels if part.is_siso and part.M is None else _coupled)(part, horizon)
    steps = as_it_is.iterations.clone()
    steps[lost] = iterations
    outcomes = torch.where(lost, int(Outcome.REPAIRED), int(Outcome.IDENTITY))
    return summarise(system, put(system, lost, calm), method, horizon, outcomes, steps)


def _channels(system: System, horizon: int | None) -> tuple[System, Tensor]:
    reduced, end = grown_channels(system, system.order, horizon)
    return reduced, end.iterations


def _coupled(system: System, horizon: int | None) -> tuple[System, Tensor]:
    """Refine unstable systems from their own poles, reflected at the circle or moved onto its inside, and from Fourier series."""
    radius = math.exp(-slowest_decay(system.poles, horizon))
    modulus = system.poles.abs()
    moved = torch.where(modulus > radius, system.poles * (radius / modulus.clamp_min(radius)), system.poles)
    starts = [with_best_outputs(system, poles, system.B, horizon) for poles in (into_disc(system.poles, radius), moved)]
    starts += fourier_starts(system, system.order, horizon)
    known = [summarise(system, start, "start", horizon) for start in starts]
    best = refine_best(system, ranked(system, known, horizon), horizon)
    return best.system, best.iterations
