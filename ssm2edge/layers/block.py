"""The block that takes the place of a layer's LTI part: small, real, trainable, stable by construction.

A pole is ``exp(-exp(nu) + i theta)`` with free real ``nu`` and ``theta`` (Orvieto et al., "Resurrecting Recurrent Neural
Networks", 2023), so that no step of training can leave the unit disc.  The poles are then rounded to float32 rotation-scaling
coefficients, and kernels are computed from the rounded ones in float64: the recurrence on a device, whose coefficients are
float32, is the same system to the last bit, however slow a mode is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from ssm2edge.layers.operators import siso_bank
from ssm2edge.systems.real_form import RealSections, from_real_sections, to_real_sections
from ssm2edge.systems.system import System

LARGEST_RADIUS = 1 - 2.0**-22
"""Poles closer to the unit circle cannot be told from it in float32."""

LARGEST_NU = 32.0
"""Beyond it the modulus is zero in any arithmetic, while exp(nu) would overflow on its way to a gradient."""


class _RoundToFloat32(torch.autograd.Function):
    """Rounding with the gradient of the identity."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, values: Tensor) -> Tensor:
        return values.float().double()

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> Tensor:
        return gradients[0]


_rounded = cast(Callable[[Tensor], Tensor], _RoundToFloat32.apply)


class ReducedBank(nn.Module):
    """Bank of SISO channels ``(batch, channels, time) -> (batch, channels, time)``, zero initial state.

    Parameters
    ----------
    system
        SISO bank with batch shape ``(channels,)``, stable.

    Raises
    ------
    ValueError
        If the system is no such bank, or a pole lies on or outside the unit circle.

    Notes
    -----
    ``dynamics`` has one entry per state: (nu, theta) for a conjugate pair, (nu, nu) for two real poles, whose signs are fixed.
    """

    paired: Tensor
    signs: Tensor

    def __init__(self, system: System) -> None:
        super().__init__()
        if len(system.batch_shape) != 1 or not system.is_siso:
            raise ValueError(f"a bank has batch shape (channels,) and one input and output, not {tuple(system.batch_shape)}.")
        radius = float(system.poles.abs().max()) if system.order else 0.0
        if not radius < 1:
            raise ValueError(f"a pole has modulus {radius:.6g}; only stable systems can become a block.")
        sections = to_real_sections(system)
        paired = sections.b != 0
        log_modulus = system.poles.abs().clamp(1e-30, LARGEST_RADIUS).log()
        nu = torch.log(-log_modulus)
        theta = torch.atan2(system.poles.imag, system.poles.real)
        first = torch.arange(system.order) % 2 == 0
        self.dynamics = nn.Parameter(torch.where(paired & ~first, theta.abs(), nu).float())
        self.output = nn.Parameter(sections.c.float())
        self.feedthrough = nn.Parameter(sections.d.float())
        self.register_buffer("paired", paired)
        self.register_buffer("signs", torch.where(system.poles.real < 0, -1.0, 1.0).float())

    @property
    def order(self) -> int:
        """Real states per channel."""
        return self.output.shape[-1]

    def sections(self) -> RealSections:
        """Return the bank in unit-input real form, float64, differentiable, with the poles a float32 device has."""
        order = self.order
        leader = [2 * (j // 2) for j in range(order)]
        follower = [min(2 * (j // 2) + 1, order - 1) for j in range(order)]
        dynamics = self.dynamics.double()
        nu = torch.where(self.paired, dynamics[:, leader], dynamics)
        theta = torch.where(self.paired, dynamics[:, follower], torch.zeros_like(dynamics))
        modulus = torch.exp(-torch.exp(nu.clamp(max=LARGEST_NU))).clamp(max=LARGEST_RADIUS)
        turn = torch.tensor([-1.0 if j % 2 == 0 else 1.0 for j in range(order)], dtype=torch.float64, device=dynamics.device)
        signs = torch.where(self.paired, torch.ones_like(modulus), self.signs.double())
        a = _rounded(signs * modulus * torch.cos(theta))
        b = _rounded(torch.where(self.paired, turn * modulus * torch.sin(theta), torch.zeros_like(modulus)))
        return RealSections(a=a, b=b, c=self.output.double(), d=self.feedthrough.double())

    def system(self) -> System:
        """Return the bank as a System (float64, detached, on the CPU)."""
        sections = self.sections()
        return from_real_sections(RealSections(*(x.detach().cpu() for x in (sections.a, sections.b, sections.c, sections.d))))

    def kernel(self, length: int) -> Tensor:
        """Impulse responses ``(channels, length)``, float64, differentiable."""
        sections = self.sections()
        block = max(1, math.isqrt(length))
        poles = torch.complex(sections.a, -sections.b)
        # A^k applied to the vector of ones is Re((1 + i) pole^k) in both states of a pair, pole^k in a real state.
        weights = sections.c * torch.complex(torch.ones_like(sections.a), self.paired.to(sections.a))
        inner = _powers(poles, block)
        outer = weights.unsqueeze(-1) * _powers(inner[..., -1] * poles, -(-length // block))
        table = (outer.transpose(-1, -2) @ inner).real.flatten(-2)
        return torch.cat((sections.d.unsqueeze(-1), table[:, : length - 1]), dim=-1)

    def forward(self, u: Tensor) -> Tensor:
        length = u.shape[-1]
        kernel = self.kernel(length).to(u.dtype)
        spectrum = torch.fft.rfft(kernel, n=2 * length) * torch.fft.rfft(u, n=2 * length)
        y: Tensor = torch.fft.irfft(spectrum, n=2 * length)[..., :length]
        return y


def _powers(base: Tensor, count: int) -> Tensor:
    """Powers 0 .. count - 1 along a new last axis, by doubling: unlike ``base ** k`` right at zero, gradients included."""
    powers, step = torch.ones_like(base).unsqueeze(-1), base.unsqueeze(-1)
    while powers.shape[-1] < count:
        powers, step = torch.cat((powers, powers * step), dim=-1), step * step
    return powers[..., :count]


class ExportedBank(nn.Module):
    """A :class:`ReducedBank` as constants and one operator: what ``torch.export`` sees."""

    a: Tensor
    b: Tensor
    c: Tensor
    d: Tensor

    def __init__(self, bank: ReducedBank) -> None:
        super().__init__()
        sections = bank.sections()
        for name in ("a", "b", "c", "d"):
            self.register_buffer(name, getattr(sections, name).detach().float())

    def forward(self, u: Tensor) -> Tensor:
        y: Tensor = siso_bank(u, self.a, self.b, self.c, self.d)
        return y
