"""AIRE: state pruning by each mode's own h2 energy.

    score_i = |C_i|^2 |B_i|^2 / (1 - |lambda_i|^2)

It ignores what the modes have in common; compare with the h2-optimal reductions, which do not.
"""

from __future__ import annotations

from torch import Tensor

from ssm2edge.reduction.contract import Reduction, summarise
from ssm2edge.reduction.modal import LEAST, keep_modes, mode_strength
from ssm2edge.systems.system import System


def aire_scores(system: System) -> Tensor:
    """Return the squared h2 norm of each mode alone, ``(*batch, n)`` float64."""
    return mode_strength(system) / (1 - system.poles.abs().square()).clamp_min(LEAST)


def aire(system: System, order: int, horizon: int | None) -> Reduction:
    """Reduce by keeping the modes of highest AIRE score."""
    reduced, outcomes = keep_modes(system, aire_scores(system), order)
    return summarise(system, reduced, "aire", horizon, outcomes)
