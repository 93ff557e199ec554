"""Poles as free real parameters that cannot leave the unit disc.

    lambda = exp(-exp(nu) + i theta)

A conjugate pair has the two parameters (nu, theta); two real poles have (nu_0, nu_1), their signs being fixed.  Either way a
section of two states has two parameters, so that systems of any structure are optimised in one batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ssm2edge.systems.division import TINY

# exp(nu) up to 41: |lambda| down to 1e-18.
NU_MAX = math.log(41.0)
SLOWEST = 1e-7
"""Decay exp(nu) that no pole goes below on the infinite horizon: closer to the circle, poles are the same in float32."""
HORIZONS_REMEMBERED = 10.0
"""Horizons that the slowest mode may remember.  A finite horizon does not see how long a mode lasts after it; without a limit the
optimum runs to the unit circle, where a device in float32 adds up its rounding errors for ever."""


@dataclass(frozen=True, eq=False)
class Sections:
    """Parameters of batches of conjugate-closed pole sets in canonical order.

    Attributes
    ----------
    parameters
        ``(*batch, r)`` float64: nu, or theta at the second place of a pair.
    paired
        ``(*batch, r)`` bool: the state belongs to a conjugate pair.
    negative
        ``(*batch, r)`` bool: the state is a real pole below zero.
    slowest
        Decay exp(nu) that no pole goes below.
    """

    parameters: Tensor
    paired: Tensor
    negative: Tensor
    slowest: float = SLOWEST

    def __getitem__(self, index: Tensor | slice) -> Sections:
        return Sections(self.parameters[index], self.paired[index], self.negative[index], self.slowest)

    @property
    def decay(self) -> Tensor:
        """``exp(nu)`` of each state, ``(*batch, r)``: the distance of log lambda from the imaginary axis."""
        return torch.exp(torch.where(self._second, first_of_pair(self.parameters), self.parameters))

    @property
    def _second(self) -> Tensor:
        odd = torch.arange(self.parameters.shape[-1]) % 2 == 1
        return self.paired & odd

    def log_poles(self) -> Tensor:
        """Return ``log lambda``, ``(*batch, r)`` complex128."""
        theta = torch.where(self._second, -self.parameters, second_of_pair(self.parameters))
        angle = torch.where(self.paired, theta, math.pi * self.negative.to(theta))
        return torch.complex(-self.decay, angle)

    def poles(self) -> Tensor:
        """Return the poles, exactly conjugate in pairs and exactly real elsewhere."""
        return poles_of(self.log_poles(), self.paired)

    def scales(self) -> Tensor:
        """Return natural step sizes: 1 for nu, and the decay (the width of the resonance) for theta."""
        return torch.where(self._second, self.decay, torch.ones_like(self.parameters))

    def tangent(self) -> Tensor:
        """Return d(log lambda) / d(parameters * scales^-1), ``(*batch, r, r)`` complex128, block diagonal."""
        r = self.parameters.shape[-1]
        decay = self.decay
        T = torch.zeros((*self.parameters.shape, r), dtype=torch.complex128)
        diagonal = torch.where(self._second, torch.complex(torch.zeros_like(decay), -decay), (-decay).to(T))
        T.diagonal(dim1=-2, dim2=-1).copy_(diagonal)
        even = r - r % 2
        first = torch.arange(0, even, 2)
        second = first + 1
        pair = self.paired[..., first]
        zero = torch.zeros_like(decay[..., first])
        T[..., first, second] = torch.where(pair, torch.complex(zero, decay[..., first]), zero.to(T))
        T[..., second, first] = torch.where(pair, (-decay[..., first]).to(T), zero.to(T))
        return T

    def moved(self, step: Tensor) -> Sections:
        """Return the sections after a step given in units of :meth:`scales`; theta is kept in (0, pi), nu in its range."""
        parameters = self.parameters + step * self.scales()
        theta = torch.remainder(parameters, 2 * math.pi)
        theta = torch.where(theta > math.pi, 2 * math.pi - theta, theta).clamp(1e-12, math.pi - 1e-12)
        nu = parameters.clamp(math.log(self.slowest), NU_MAX)
        return Sections(torch.where(self._second, theta, nu), self.paired, self.negative, self.slowest)


def poles_of(log_poles: Tensor, paired: Tensor) -> Tensor:
    """Exponentiate, with exact zeros where the poles are real."""
    poles = torch.exp(log_poles)
    return torch.where(paired, poles, torch.complex(poles.real, torch.zeros_like(poles.real)))


def first_of_pair(x: Tensor) -> Tensor:
    """Return, at each place, the entry at the first place of its section."""
    index = torch.arange(x.shape[-1])
    return x[..., index - index % 2]


def second_of_pair(x: Tensor) -> Tensor:
    """Return, at each place, the entry at the second place of its section (an odd last state has itself)."""
    index = torch.arange(x.shape[-1])
    return x[..., (index | 1).clamp_max(x.shape[-1] - 1)]


def slowest_decay(poles: Tensor, horizon: int | None) -> float:
    """Return the decay that no reduced pole goes below when errors count on ``horizon`` taps, unless the original poles do."""
    if horizon is None:
        return SLOWEST
    modulus = poles.abs()
    # An unstable mode says nothing about the memory of its approximation.
    original = float(-torch.log(modulus.where(modulus < 1, modulus.new_zeros(())).amax().clamp(TINY, 1 - 1e-16)))
    return max(SLOWEST, min(1.0, 1 / (HORIZONS_REMEMBERED * horizon), original))


def sections_of(poles: Tensor, slowest: float = SLOWEST) -> Sections:
    """Return the parameters of stable poles in canonical order; poles slower than ``slowest`` are moved to it."""
    paired = poles.imag != 0
    modulus = poles.abs().clamp(TINY, 1 - 1e-16)
    nu = torch.log(-torch.log(modulus)).clamp(math.log(slowest), NU_MAX)
    odd = torch.arange(poles.shape[-1]) % 2 == 1
    theta = poles.angle().abs()
    return Sections(torch.where(paired & odd, theta, nu), paired, ~paired & (poles.real < 0), slowest)
