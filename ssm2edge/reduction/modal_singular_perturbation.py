"""Modal singular perturbation: modal truncation whose dropped modes settle at once.

Each dropped mode leaves its gain at frequency zero in the feedthrough, ``Dhat = D + sum C_i B_i / (1 - lambda_i)``.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from ssm2edge.reduction.contract import Reduction, summarise
from ssm2edge.reduction.modal import keep_modes, slowness
from ssm2edge.systems.system import System


def dc_gain(system: System) -> Tensor:
    """Return the gain of the linear part at frequency zero, ``(*batch, p, m)`` float64."""
    return system.D + (system.C @ (system.B / (1 - system.poles)[..., None])).real


def modal_singular_perturbation(system: System, order: int, horizon: int | None) -> Reduction:
    """Reduce by keeping the slowest modes and matching the gain at frequency zero."""
    reduced, outcomes = keep_modes(system, slowness(system), order)
    reduced = replace(reduced, D=reduced.D + dc_gain(system) - dc_gain(reduced))
    return summarise(system, reduced, "modal_singular_perturbation", horizon, outcomes)
