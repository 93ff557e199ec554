"""Poles of a block in training and at run time: stable by construction, and the same numbers in PyTorch and on the device.

A pole is ``exp(-exp(nu) + i theta)`` with free real ``nu`` and ``theta`` (Orvieto et al., "Resurrecting Recurrent Neural
Networks", 2023), so that no training step leaves the unit disc.  The poles are then rounded to float32 rotation-scaling
coefficients, and everything else is computed from the rounded ones in float64: the recurrence on a device, whose coefficients are
float32, is the same system to the last bit, even for very slow modes.
"""

from __future__ import annotations

import torch
from torch import Tensor

LARGEST_RADIUS, LARGEST_REAL = 1 - 2.0**-22, 1 - 2.0**-24
"""Pairs, and real poles, that are closer to the unit circle lie on it in float32."""

LARGEST_NU = 32.0
"""Above it the modulus is zero in any arithmetic, and exp(nu) would overflow in the gradient."""


def _rounded(values: Tensor) -> Tensor:
    """Round with the gradient of the identity; the sum is exact, and so is the difference."""
    return values + (values.float().double() - values).detach()


def initial_dynamics(poles: Tensor, paired: Tensor, outside: bool = False) -> tuple[Tensor, Tensor]:
    """Return the free parameters and fixed factors of poles in canonical order.

    Parameters
    ----------
    poles
        ``(*batch, n)`` complex128, inside the unit circle.
    paired
        ``(*batch, n)`` bool, True if a state belongs to a conjugate pair.
    outside
        Hold poles on and outside the unit circle as well, as an original's own system may have them.

    Returns
    -------
    dynamics, factors
        ``(*batch, n)`` float64.  There is one parameter per state: (nu, theta) for a pair, (nu, nu) for two real poles.  Factors
        are the signs of poles; larger than one where a pole is not inside the unit circle.

    Raises
    ------
    ValueError
        If a pole lies on or outside the unit circle and ``outside`` is not set.
    """
    radius = float(poles.abs().max()) if poles.numel() else 0.0
    if not radius < 1 and not outside:
        raise ValueError(f"a pole has modulus {radius:.6g}; only stable systems can become a block.")
    log_modulus = poles.abs().clamp_min(1e-30).minimum(_largest(paired)).log()
    theta = torch.atan2(poles.imag, poles.real)
    first = torch.arange(poles.shape[-1]) % 2 == 0
    dynamics = torch.where(paired & ~first, theta.abs(), torch.log(-log_modulus))
    signs = torch.where(poles.real < 0, -1.0, 1.0).double()
    return dynamics, torch.where(poles.abs() < 1, signs, signs * poles.abs() / _largest(paired))


def _largest(paired: Tensor) -> Tensor:
    """Return the largest modulus that each state's pole may have."""
    return torch.where(paired, LARGEST_RADIUS, LARGEST_REAL).double()


def section_coefficients(parameters: Tensor, paired: Tensor, signs: Tensor) -> tuple[Tensor, Tensor]:
    """Return the coefficients a and b of the sections, ``(*batch, n)`` float64, differentiable; see :func:`as_held`."""
    order = parameters.shape[-1]
    leader = [2 * (j // 2) for j in range(order)]
    follower = [min(2 * (j // 2) + 1, order - 1) for j in range(order)]
    dynamics = parameters.double()
    nu = torch.where(paired, dynamics[..., leader], dynamics)
    theta = torch.where(paired, dynamics[..., follower], torch.zeros_like(dynamics))
    modulus = torch.exp(-torch.exp(nu.clamp(max=LARGEST_NU))).minimum(_largest(paired))
    turn = torch.tensor([-1.0 if j % 2 == 0 else 1.0 for j in range(order)], dtype=torch.float64, device=dynamics.device)
    signs = torch.where(paired, signs.double().abs(), signs.double())
    a = signs * modulus * torch.cos(theta)
    b = torch.where(paired, turn * signs * modulus * torch.sin(theta), torch.zeros_like(modulus))
    return as_held(a, parameters), as_held(b, parameters)


def as_held(coefficients: Tensor, parameters: Tensor) -> Tensor:
    """Round coefficients to the float32 of devices, unless the parameters are float64."""
    return coefficients if parameters.dtype == torch.float64 else _rounded(coefficients)
