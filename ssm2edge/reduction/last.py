"""LAST: layer-adaptive state pruning by each mode's own H-infinity norm (Gwak et al. 2024).

    score_i = |C_i|^2 |B_i|^2 / (1 - |lambda_i|)^2

At one order for all systems the modes of highest score stay.  To distribute orders, scores are divided by the running sum of the
layer's larger ones (:func:`layer_normalised`) and cut at one threshold for all layers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ssm2edge.reduction.contract import Reduction, summarise
from ssm2edge.reduction.modal import keep_modes, mode_strength
from ssm2edge.systems.system import System


def last_scores(system: System) -> Tensor:
    """Return the squared H-infinity norm of each mode alone, ``(*batch, n)`` float64."""
    return mode_strength(system) / (1 - system.poles.abs()).square()


def layer_normalised(scores: Tensor) -> Tensor:
    """Divide each score by the sum of itself and all larger ones along the last axis (one layer's states), in (0, 1]."""
    ordered, order = torch.sort(scores, dim=-1, descending=True)
    shares = ordered / ordered.cumsum(-1).clamp_min(1e-300)
    return torch.empty_like(scores).scatter_(-1, order, shares)


def last(system: System, order: int, horizon: int | None) -> Reduction:
    """Reduce by keeping the modes of highest LAST score."""
    reduced, outcomes = keep_modes(system, last_scores(system), order)
    return summarise(system, reduced, "last", horizon, outcomes)
