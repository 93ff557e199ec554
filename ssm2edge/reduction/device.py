"""Channels whose modes cancel: reduced for what a float32 recurrence computes.

The search for poles evaluates sums over the original's residues.  A state matrix far from normal has residues far larger than its
response: the sums are known to few digits, and poles that only cancel can look good.  The poles of such channels are grown on the
taps of the response (``growing.py``), and their residues are fitted to the taps, so that error and noise together are smallest,

    |h - Phi r|^2 + WEIGHT^2 |noise(r)|^2,

for the poles that the device will have.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ssm2edge.layers.dynamics import initial_dynamics, section_coefficients
from ssm2edge.reduction.balanced import balance, project
from ssm2edge.reduction.contract import Outcome, Reduction
from ssm2edge.reduction.growing import grown
from ssm2edge.reduction.newton import Minimum
from ssm2edge.reduction.sections import Sections, sections_of, slowest_decay
from ssm2edge.reduction.shared_poles import SharedChannels
from ssm2edge.reduction.taps import LONGEST, taps_of
from ssm2edge.systems.dense import to_modal
from ssm2edge.systems.division import TINY
from ssm2edge.systems.response import impulse_response, pole_sequences
from ssm2edge.systems.rounding import RECURRENCE, recurrence_noise, relative_float32_noise
from ssm2edge.systems.stability import into_disc
from ssm2edge.systems.system import System, siso_bank

LARGEST_NOISE = 1e-4
"""Rounding of a channel's residues to float32, relative to its response, from which on its modes are said to cancel."""

WEIGHT = 10.0
"""Of the noise of a recurrence beside the error: inputs that are slower than white ones excite slow modes more."""

COUNTS = 0.002
"""Share of the error from which on the weighted noise is said to limit it."""

RIDGE = (WEIGHT * RECURRENCE) ** 2
"""The same weight, as one of the residues' own energy (``projection.py``)."""


def cancels(system: System) -> Tensor:
    """Return which channels' modes cancel, ``(*batch,)`` bool; False for systems that are no SISO channels."""
    if not system.is_siso or system.M is not None:
        return torch.zeros(system.batch_shape, dtype=torch.bool)
    return relative_float32_noise(system) > LARGEST_NOISE


def with_limits(result: Reduction, cancelling: Tensor) -> Reduction:
    """Return a reduction that says of which cancelling channels the noise of the device limits the error."""
    limited = cancelling & (WEIGHT * recurrence_noise(result.system) > COUNTS * result.error)
    return replace(result, outcomes=torch.where(limited, int(Outcome.LIMITED), result.outcomes))


def held(poles: Tensor) -> Tensor:
    """Return the poles that a block in float32 has in place of the given ones, ``(*batch, r)``, stable and in canonical order."""
    paired = poles.imag != 0
    parameters, signs = initial_dynamics(poles, paired)
    a, b = section_coefficients(parameters.float(), paired, signs)
    upper = torch.where(torch.arange(poles.shape[-1]) % 2 == 0, 1.0, -1.0)
    return torch.where(paired, torch.complex(a, upper * b.abs()), torch.complex(a, torch.zeros_like(a)))


def grown_channels(system: System, order: int, horizon: int | None) -> tuple[System, Minimum]:
    """Reduce SISO channels by growing their poles, up to their own order; return the end of the path as well."""
    targets = taps_of(system, horizon, RIDGE)
    slowest = slowest_decay(system.poles, horizon)
    balancing = balance(system, min(order, system.order - 1), horizon) if system.order > 1 else None

    def rival(states: int) -> Sections:
        if balancing is None or states == system.order:
            return sections_of(system.poles, slowest)
        dense = project(replace(balancing, T=balancing.T[..., :states], W=balancing.W[..., :states]))
        return sections_of(into_disc(to_modal(dense).poles), slowest)

    channels = len(system.poles)
    alone = SharedChannels(targets, torch.arange(channels), torch.ones(channels, dtype=torch.float64), channels)
    end = grown(alone, order, slowest, rival)
    return calm_outputs(system, held(end.sections.poles()), horizon), end


def calm_outputs(system: System, poles: Tensor, horizon: int | None) -> System:
    """Return SISO channels of the given poles whose residues make error and noise together smallest.

    Parameters
    ----------
    system
        Originals, ``(channels,)``.
    poles
        ``(channels, r)`` complex128, stable; members of a pair side by side.
    horizon
        As in :func:`ssm2edge.reduction.reduce_system`.
    """
    taps = LONGEST if horizon is None else horizon
    goal = impulse_response(system, taps + 1)[:, 0, 0, 1:]
    first = torch.arange(poles.shape[-1]) % 2 == 0
    paired = poles.imag != 0
    modes = pole_sequences(poles, taps)
    # A pair contributes 2 Re(r pole^k): real columns for Re r and Im r of its first member.
    leading = torch.where(first, modes.mT, torch.roll(modes, 1, dims=-2).mT)
    columns = torch.where(paired[:, None], torch.where(first, 2 * leading.real, -2 * leading.imag), modes.mT.real)
    memories = 1 / (1 - poles.abs().square()).clamp_min(1e-12)
    penalty = torch.diag_embed(WEIGHT * RECURRENCE * memories * torch.where(paired, 2**0.5, 1.0))
    matrix, right = torch.cat((columns, penalty), dim=1), torch.nn.functional.pad(goal, (0, poles.shape[-1]))
    scale = matrix.norm(dim=1, keepdim=True).clamp_min(TINY)
    Q, R = torch.linalg.qr(matrix / scale)
    solved = torch.linalg.solve_triangular(R, Q.mT @ right[..., None], upper=True)[..., 0] / scale[:, 0]
    other = torch.where(first, torch.roll(solved, -1, dims=-1), torch.roll(solved, 1, dims=-1))
    halves = torch.where(first, torch.complex(solved, other), torch.complex(other, -solved))
    return siso_bank(poles, torch.where(paired, halves, solved.to(halves)), system.D[:, 0, 0])
