"""Noise of a reduction on a float32 device, by which reductions are judged if an original's modes cancel.

The search for poles evaluates sums over the original's residues.  A state matrix far from normal has residues far larger than its
response: the sums are known to few digits, and poles that only cancel can look good.  Residues of such channels are fitted to the
taps of the response themselves, so that error and noise together are smallest,

    |h - Phi r|^2 + WEIGHT^2 |noise(r)|^2,

and the best poles are those for which this is smallest.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ssm2edge.reduction.contract import Reduction
from ssm2edge.systems.division import TINY
from ssm2edge.systems.response import impulse_response, pole_sequences
from ssm2edge.systems.rounding import RECURRENCE, recurrence_noise, relative_float32_noise
from ssm2edge.systems.system import System, siso_bank

LARGEST_NOISE = 1e-4
"""Rounding of a channel's residues to float32, relative to its response, from which on its modes are said to cancel."""

WEIGHT = 3e3
"""Of the noise of a recurrence beside the error: inputs that are slower than white ones excite slow modes many times more."""

LONGEST = 4096
"""Taps that residues are fitted to on the infinite horizon."""


def cancels(system: System) -> Tensor:
    """Return which channels' modes cancel, ``(*batch,)`` bool; False for systems that are no SISO channels."""
    if not system.is_siso or system.M is not None:
        return torch.zeros(system.batch_shape, dtype=torch.bool)
    return relative_float32_noise(system) > LARGEST_NOISE


def felt_error(system: System, reduction: Reduction, lost: Tensor) -> Tensor:
    """Return the errors of a reduction, with the noise of a float32 recurrence in the channels ``lost``, of :func:`cancels`."""
    error = reduction.error.clone()
    if lost.any():
        error[lost] = torch.hypot(error[lost], WEIGHT * recurrence_noise(reduction.system[lost]))
    return error


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


def calmest(system: System, candidates: list[Tensor], horizon: int | None) -> tuple[System, Tensor]:
    """Return the channels with the poles, among several sets, for which error and noise together are smallest.

    The index of the set, ``(channels,)``, is returned as well.
    """
    taps = LONGEST if horizon is None else horizon
    goal = impulse_response(system, taps + 1)
    fits = [calm_outputs(system, poles, horizon) for poles in candidates]
    errors = [(impulse_response(fit, taps + 1) - goal).square().sum((-3, -2, -1)) for fit in fits]
    felt = torch.stack([error + (WEIGHT * recurrence_noise(fit)).square() for error, fit in zip(errors, fits, strict=True)])
    best = felt.argmin(0)
    rows = torch.arange(len(best))
    poles = torch.stack([fit.poles for fit in fits])[best, rows]
    residues = torch.stack([fit.residues for fit in fits])[best, rows]
    return siso_bank(poles, residues, system.D[:, 0, 0]), best
