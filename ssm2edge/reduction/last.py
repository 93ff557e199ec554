"""LAST: layer-adaptive state pruning by each mode's own H-infinity norm (Gwak et al. 2024).

    score_i = |C_i|^2 |B_i|^2 / (1 - |lambda_i|)^2

The modes of highest score stay.  The paper also distributes orders over layers by these scores, each divided by the running sum
of its layer's larger ones; here orders are given (``orders/`` distributes them, alike for all methods).
"""

from __future__ import annotations

from torch import Tensor

from ssm2edge.reduction.contract import Reduction, summarise
from ssm2edge.reduction.modal import LEAST, keep_modes, mode_strength
from ssm2edge.systems.system import System


def last_scores(system: System) -> Tensor:
    """Return the squared H-infinity norm of each mode alone, ``(*batch, n)`` float64."""
    return mode_strength(system) / (1 - system.poles.abs()).clamp_min(LEAST).square()


def last(system: System, order: int, horizon: int | None) -> Reduction:
    """Reduce by keeping the modes of highest LAST score."""
    reduced, outcomes = keep_modes(system, last_scores(system), order)
    return summarise(system, reduced, "last", horizon, outcomes)
