"""Coordinates in which a bank can be tuned: a step of length one changes each channel's output by about as much as it has.

In residues and poles the problem is hopelessly ill-conditioned: poles that nearly coincide have large residues that cancel.  Per
channel, with J the derivative of the kernel by all parameters (poles first, in units of a resonance's width) and S the power of
the input, the relative change of the output has the Gram matrix ``Gamma = J^T S J / |k|_S^2``, and the coordinates are
``Gamma + floor`` to the power -1/2.  The floors limit parameters that the output hardly depends on.
"""

from __future__ import annotations

from typing import Protocol, Self

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.func import functional_call

from ssm2edge.calibration.signals import Place
from ssm2edge.calibration.spectra import gather_spectra
from ssm2edge.layers import ReducedBank
from ssm2edge.reduction.sections import sections_of
from ssm2edge.systems.division import TINY
from ssm2edge.systems.gram import scaled, unit_scale
from ssm2edge.workers import equal_spans, workers

POLE_FLOOR, OUTPUT_FLOOR = 1e-2, 1e-3
"""Added to the relative squared change: a unit step moves no pole by more than 10 of its widths, however little it matters."""


PIECE = 16
"""Channels whose derivatives are transformed at a time."""


class Coordinates(Protocol):
    """Free coordinates of one block, zero at the start."""

    point: Tensor
    """``(free,)`` or ``(channels, free)`` float64; its ``grad`` is what an optimiser reads."""

    def pull(self) -> None:
        """Set ``point.grad`` from the gradients of the block's parameters."""

    def push(self) -> None:
        """Write the parameters that ``point`` stands for into the block."""


class BlockCoordinates(Coordinates, Protocol):
    """Coordinates of a block in which a unit step in any of them changes an output by about as much as it has."""

    outputs: int
    """Outputs of the block."""


class _Kernel(torch.nn.Module):
    """A bank as a function of its parameters to its kernels, for ``functional_call``."""

    def __init__(self, bank: ReducedBank) -> None:
        super().__init__()
        self.bank = bank

    def forward(self, length: int) -> Tensor:
        return self.bank.kernel(length)


def kernel_jacobian(bank: ReducedBank, length: int, names: tuple[str, ...] = ("dynamics", "output", "feedthrough")) -> Tensor:
    """Return the derivatives of the kernels by a bank's parameters, each of which has a row for every channel.

    Returns
    -------
    Tensor
        ``(channels, parameters, length)`` float64; by dynamics, outputs and feedthrough there are ``2 r + 1``.
    """
    held = {f"bank.{name}": parameter.detach() for name, parameter in bank.named_parameters()}
    columns = []
    for name in (f"bank.{name}" for name in names):
        values = held[name]
        for j in range(values.shape[-1] if values.dim() == 2 else 1):
            # Channels do not depend on each other: one pass serves all of them.
            tangent = torch.zeros_like(values)
            tangent.view(len(values), -1)[:, j] = 1
            with forward_ad.dual_level():
                dual = {**held, name: _dual(values, tangent)}
                columns.append(_tangent(functional_call(_Kernel(bank), dual, (length,))).detach())
    return torch.stack(columns, dim=1)


class BankCoordinates:
    """Coordinates of a bank, per channel.

    Parameters
    ----------
    bank
        Its parameters are changed by :meth:`push`.
    power
        ``(channels, length + 1)`` float64: power of its inputs at the frequencies ``pi f / length``.
    """

    names: tuple[str, ...] = ("dynamics", "output", "feedthrough")
    """Parameters that are tuned, in the order of the coordinates before they are mixed."""

    def __init__(self, bank: ReducedBank, power: Tensor) -> None:
        self._bank = bank
        self.names = tuple(name for name in self.names if name in dict(bank.named_parameters()))
        self._start = self._parameters()
        length, order = power.shape[-1] - 1, bank.order
        weight = torch.cat((power[:, :1], 2 * power[:, 1:-1], power[:, -1:]), dim=-1)
        with torch.no_grad():
            spectrum = torch.fft.rfft(bank.kernel(length), n=2 * length)
            energy = (spectrum.abs().square() * weight).sum(-1).clamp_min(TINY)
            jacobian = kernel_jacobian(bank, length, self.names)
            spans = equal_spans(len(jacobian), PIECE)

            def gram_of(span: slice) -> Tensor:
                with torch.no_grad():
                    columns = torch.fft.rfft(jacobian[span], n=2 * length) * (weight / energy[:, None]).sqrt()[span, None]
                    rows = torch.view_as_real(columns).flatten(-2)
                    return rows @ rows.mT

            with workers() as pool:
                gram = torch.cat(list(pool.map(gram_of, spans)))
        units = unit_scale(gram, 1e-30)
        floor = torch.full_like(units, OUTPUT_FLOOR)
        if "dynamics" in self.names:
            units[:, :order] = sections_of(bank.system().poles).scales()
            floor[:, :order] = POLE_FLOOR
        gram = scaled(gram, units) + torch.diag_embed(floor)
        sizes, directions = torch.linalg.eigh(gram)
        self._map = units[:, :, None] * directions * sizes.rsqrt()[:, None, :]
        self.point = torch.zeros_like(self._start, requires_grad=True)
        self.outputs = len(self.point)

    @classmethod
    def at(cls, bank: ReducedBank, place: Place) -> Self:
        """Return the coordinates for the inputs that a bank gets at its place."""
        return cls(bank, gather_spectra(place).power)

    def _parameters(self, gradients: bool = False) -> Tensor:
        parameters = [self._bank.get_parameter(name) for name in self.names]
        parts = [gradient_of(p) if gradients else p.detach() for p in parameters]
        return torch.cat([part.double().view(len(part), -1) for part in parts], dim=-1)

    def pull(self) -> None:
        """Set ``point.grad`` from the gradients of the block's parameters."""
        self.point.grad = (self._map.mT @ self._parameters(gradients=True)[..., None])[..., 0]

    def push(self) -> None:
        """Write the parameters that ``point`` stands for into the block."""
        with torch.no_grad():
            values = self._start + (self._map @ self.point[..., None])[..., 0]
            parameters = [self._bank.get_parameter(name) for name in self.names]
            parts = torch.split(values, [p[0].numel() for p in parameters], dim=-1)
            for parameter, part in zip(parameters, parts, strict=True):
                parameter.copy_(part.view_as(parameter))


class TiedCoordinates(BankCoordinates):
    """Coordinates of a bank of shared poles: poles belong to no channel and stay; residues and feedthroughs are tuned."""

    names = ("output", "feedthrough")


def gradient_of(parameter: Tensor) -> Tensor:
    """Return the gradient of a parameter, float64; zeros where it has none."""
    return (torch.zeros_like(parameter) if parameter.grad is None else parameter.grad).double()


def _dual(values: Tensor, tangent: Tensor) -> Tensor:
    dual: Tensor = forward_ad.make_dual(values, tangent)  # type: ignore[no-untyped-call]  # torch has no types here
    return dual


def _tangent(dual: Tensor) -> Tensor:
    tangent: Tensor = forward_ad.unpack_dual(dual).tangent  # type: ignore[no-untyped-call]  # torch has no types here
    return tangent
