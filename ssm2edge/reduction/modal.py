"""Modal truncation: keep the slowest modes with their own coefficients.

Also the way every method that picks modes does it: pairs stay together, an order that pairs cannot fill is padded.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ssm2edge.reduction.contract import Outcome, Reduction, summarise
from ssm2edge.systems.real_coordinates import swapped
from ssm2edge.systems.system import System

LEAST = 1e-12
"""Distance from the unit circle at which slower and unstable modes are taken to lie."""


def modal_truncation(system: System, order: int, horizon: int | None) -> Reduction:
    """Reduce by keeping the modes of largest modulus; equally slow ones by their energy."""
    reduced, outcomes = keep_modes(system, slowness(system), order)
    return summarise(system, reduced, "modal", horizon, outcomes)


def mode_strength(system: System) -> Tensor:
    """Return ``|C_i|^2 |B_i|^2`` (plus ``sum |M_ii|^2 |B_i|^4`` where outputs are quadratic), ``(*batch, n)`` float64."""
    inputs = system.B.abs().square().sum(-1)
    strength = system.C.abs().square().sum(-2) * inputs
    if system.M is not None:
        strength = strength + system.M.diagonal(dim1=-2, dim2=-1).abs().square().sum(-2) * inputs.square()
    return strength


def slowness(system: System) -> Tensor:
    """Return ranks, highest first to keep: by pole modulus (to nine digits), then by mode energy, ``(*batch, n)`` float64."""
    modulus = system.poles.abs()
    energy = mode_strength(system) / (1 - modulus.square()).clamp_min(LEAST)
    by_energy = torch.argsort(energy, dim=-1, stable=True)
    rounded = (modulus * 1e9).round().gather(-1, by_energy)
    order = by_energy.gather(-1, torch.argsort(rounded, dim=-1, stable=True))
    ranks = torch.empty_like(modulus)
    ranks.scatter_(-1, order, torch.arange(modulus.shape[-1], dtype=modulus.dtype).expand_as(modulus).contiguous())
    # Members of a pair share the better of their ranks.
    return torch.where(system.poles.imag != 0, torch.maximum(ranks, swapped(ranks)), ranks)


def keep_modes(system: System, scores: Tensor, order: int) -> tuple[System, Tensor]:
    """Keep the modes of highest score that fit into the order, pairs whole.

    Returns
    -------
    System, outcomes
        If one state is left over and only pairs remain, it becomes a pole at zero without output, and the outcome is ``PADDED``.
    """
    poles = system.poles
    batch, n = poles.shape
    paired = poles.imag != 0
    ranking = torch.argsort(scores, dim=-1, descending=True, stable=True)
    room = torch.full((batch,), order)
    kept = torch.zeros_like(paired)
    rows = torch.arange(batch)
    for place in range(n):
        state = ranking[:, place]
        both = paired[rows, state]
        size = 1 + both.to(room.dtype)
        fits = ~kept[rows, state] & (size <= room)
        kept[rows, state] |= fits
        other = torch.where(both, state ^ 1, state)
        kept[rows, other] |= fits
        room = room - torch.where(fits, size, torch.zeros_like(size))
    # Canonical order is kept by taking the kept states in their own order: pairs stay before reals.
    indices = torch.argsort((~kept).to(torch.int8), dim=-1, stable=True)[:, :order]
    padded = torch.arange(order) >= kept.sum(-1, keepdim=True)
    B = system.B.gather(-2, indices[..., None].expand(-1, -1, system.inputs))
    C = system.C.gather(-1, indices[..., None, :].expand(-1, system.outputs, -1))
    M = None
    if system.M is not None:
        M = system.M.gather(-2, indices[:, None, :, None].expand(-1, system.outputs, -1, n))
        M = M.gather(-1, indices[:, None, None, :].expand(-1, system.outputs, order, -1))
        M = M.masked_fill(padded[:, None, :, None] | padded[:, None, None, :], 0)
    reduced = System(
        poles=poles.gather(-1, indices).masked_fill(padded, 0),
        B=torch.where(padded[..., None], torch.ones_like(B), B),
        C=C.masked_fill(padded[..., None, :], 0),
        D=system.D,
        M=M,
    )
    return reduced, torch.where(padded.any(-1), int(Outcome.PADDED), int(Outcome.CONVERGED))
