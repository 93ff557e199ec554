"""The block that takes the place of a bank of SISO channels: small, real, trainable, stable by construction."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from ssm2edge.layers.contract import Block, Use
from ssm2edge.layers.convolution import causal_convolution, convolved, response_of
from ssm2edge.layers.dynamics import initial_dynamics, section_coefficients
from ssm2edge.layers.held import Held
from ssm2edge.layers.operators import computed_in, in_float32, siso_bank
from ssm2edge.systems.coarse_poles import codes_of, coefficients_of
from ssm2edge.systems.real_form import RealSections, from_real_sections, to_real_sections
from ssm2edge.systems.rounding import relative_float32_noise
from ssm2edge.systems.system import System

LARGEST_NOISE = 3e-6
"""Rounding of a full-order bank's coefficients, relative to its response, from which on it is held in float64."""


class ReducedBank(Block):
    """Bank of SISO channels ``(batch, channels, time) -> (batch, channels, time)``, zero initial state.

    Parameters
    ----------
    system
        SISO bank with batch shape ``(channels,)``, stable.

    precision
        Of its parameters: float32, which is what a device has, or float64 for a bank whose residues cancel beyond float32.
    outside
        Take poles on and outside the unit circle as well.

    Raises
    ------
    ValueError
        If the system is no such bank, or a pole lies on or outside the unit circle.

    Notes
    -----
    ``dynamics`` has one entry per state: (nu, theta) for a conjugate pair, (nu, nu) for two real poles, whose signs are fixed.
    """

    time_last: ClassVar[bool] = True
    coarse: bool = False
    """True where its poles are the nearest ones of 16 bits a number; there are none for an odd order, nor in float64."""

    paired: Tensor
    signs: Tensor
    feedthrough: Tensor

    def __init__(self, system: System, precision: torch.dtype = torch.float32, outside: bool = False) -> None:
        super().__init__()
        if not self.fits(system):
            raise ValueError(f"a bank has batch shape (channels,) and one input and output, not {tuple(system.batch_shape)}.")
        sections = to_real_sections(system)
        paired = sections.b != 0
        dynamics, signs = initial_dynamics(system.poles, paired, outside)
        self.dynamics = nn.Parameter(dynamics.to(precision))
        self.output = nn.Parameter(sections.c.to(precision))
        self.set_feedthrough(sections.d.to(precision))
        self.register_buffer("paired", paired)
        self.register_buffer("signs", signs.to(precision))

    def set_feedthrough(self, value: Tensor) -> None:
        """Hold the feedthrough: a parameter, or nothing to store and train where there is none, as against time."""
        if bool((value == 0).all()):
            self.register_buffer("feedthrough", value)
        else:
            self.feedthrough = nn.Parameter(value)

    @classmethod
    def fits(cls, system: System) -> bool:
        """Return whether the system is a bank of linear SISO channels."""
        return len(system.batch_shape) == 1 and system.is_siso and system.M is None

    @classmethod
    def standing_for(cls, system: System) -> Self:
        """Return the bank in float32, or in float64 where float32 could not hold it; it may be unstable."""
        noisy = bool((relative_float32_noise(system) > LARGEST_NOISE).any())
        return cls(system, torch.float64 if noisy else torch.float32, outside=True)

    @property
    def order(self) -> int:
        """Real states per channel."""
        return self.output.shape[-1]

    def sections(self) -> RealSections:
        """Return the bank in unit-input real form, float64, differentiable, with the poles that a float32 device has."""
        a, b = section_coefficients(self.dynamics, self.paired, self.signs)
        if self.coarse:
            # Rounding has the gradient of the identity.
            a, b = (x + (held.double() - x).detach() for x, held in zip((a, b), coefficients_of(codes_of(a, b)), strict=True))
        return RealSections(a=a, b=b, c=self.output.double(), d=self.feedthrough.double())

    def system(self) -> System:
        """Return the bank as a System (float64, detached, on the CPU)."""
        sections = self.sections()
        return from_real_sections(RealSections(*(x.detach().cpu() for x in (sections.a, sections.b, sections.c, sections.d))))

    def kernel(self, length: int) -> Tensor:
        """Return the impulse responses ``(channels, length)``, float64, differentiable."""
        sections = self.sections()
        block = max(1, math.isqrt(length))
        poles = torch.complex(sections.a, -sections.b)
        # A^k applied to the vector of ones is Re((1 + i) pole^k) in both states of a pair, pole^k in a real state.
        weights = sections.c * torch.complex(torch.ones_like(sections.a), self.paired.to(sections.a))
        inner = _powers(poles, block)
        outer = weights.unsqueeze(-1) * _powers(inner[..., -1] * poles, -(-length // block))
        table = (outer.transpose(-1, -2) @ inner).real.flatten(-2)
        return torch.cat((sections.d.unsqueeze(-1), table[:, : length - 1]), dim=-1)

    def exported(self) -> ExportedBank:
        """Return the bank as constants and one operator."""
        return ExportedBank(self)

    def constant(self) -> nn.Module:
        """Return the bank with kernels that are computed once for each length."""
        return _KnownKernels(self)

    def held(self, uses: Collection[Use]) -> Held:
        """Return the bank with responses that are computed once for all runs."""
        return _HeldBank(self, sorted({(length, torch.promote_types(dtype, torch.float32)) for length, dtype in uses}, key=str))

    def forward(self, u: Tensor) -> Tensor:
        precise = computed_in(u)
        return causal_convolution(u.to(precise), self.kernel(u.shape[-1]).to(precise)).to(u.dtype)


class _KnownKernels(nn.Module):
    """A bank that no longer changes: the responses of the last length are kept."""

    def __init__(self, bank: ReducedBank) -> None:
        super().__init__()
        self._bank = bank
        self._known: tuple[Use, Tensor] | None = None

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self

    def forward(self, u: Tensor) -> Tensor:
        precise, known = computed_in(u), self._known
        use = (u.shape[-1], precise)
        # Several threads may run it: what one of them reads is whole.
        if known is None or known[0] != use:
            known = self._known = (use, response_of(self._bank.kernel(u.shape[-1]).detach().to(precise)))
        return convolved(u.to(precise), known[1]).to(u.dtype)


class _HeldBank(Held):
    def __init__(self, bank: ReducedBank, uses: Sequence[Use]) -> None:
        super().__init__()
        self._bank, self._uses = bank, uses
        self._made: list[Tensor] = []
        self._leaves: dict[Use, Tensor] = {}

    def refresh(self) -> list[Tensor]:
        with torch.enable_grad():
            self._made = [response_of(self._bank.kernel(length).to(precise)) for length, precise in self._uses]
        self._leaves = {use: made.detach().requires_grad_() for use, made in zip(self._uses, self._made, strict=True)}
        return list(self._leaves.values())

    def carried(self, gradients: Sequence[Tensor | None]) -> list[tuple[nn.Parameter, Tensor]]:
        pairs = [(made, gradient) for made, gradient in zip(self._made, gradients, strict=True) if gradient is not None]
        if not pairs:
            return []
        parameters = list(self._bank.parameters())
        found = torch.autograd.grad(
            [made for made, _ in pairs], parameters, [gradient for _, gradient in pairs], allow_unused=True
        )
        return [(parameter, gradient) for parameter, gradient in zip(parameters, found, strict=True) if gradient is not None]

    def forward(self, u: Tensor) -> Tensor:
        precise = computed_in(u)
        return convolved(u.to(precise), self._leaves[u.shape[-1], precise]).to(u.dtype)


def _powers(base: Tensor, count: int) -> Tensor:
    """Return powers 0 .. count - 1 along a new last axis, by doubling: unlike ``base ** k`` right at zero, with gradients."""
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
        return in_float32(lambda x: siso_bank(x, self.a, self.b, self.c, self.d), u)
