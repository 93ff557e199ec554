"""The long convolutions of a bidirectional S4D layer as training computes them: equal to the layer's own up to rounding.

The gradient needs four transforms of real signals where automatic differentiation takes twice that, and the pointwise steps read
memory in order.  Training uses this, nothing else does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

BLOCK = 32
"""Taps of the short table that kernels are made from."""


def powers(exponents: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
    """Return real and imaginary part of ``exp(exponents * steps)``, ``(channels, modes, steps)``: no complex exponentials."""
    sizes = torch.exp(exponents.real.unsqueeze(-1) * steps)
    angles = exponents.imag.unsqueeze(-1) * steps
    return sizes * torch.cos(angles), sizes * torch.sin(angles)


def kernels_of(kernel: Any, length: int) -> Tensor:
    """Return ``2 Re sum_n c_n exp(e_n k)``, ``(directions, channels, length)``, from two short tables of powers."""
    coefficients, exponents = kernel.modes()
    far = powers(exponents, torch.arange(0, length, BLOCK, device=exponents.device))
    near = powers(exponents, torch.arange(BLOCK, device=exponents.device))
    real, imaginary = coefficients.real.unsqueeze(-1), coefficients.imag.unsqueeze(-1)
    outer = torch.cat((real * far[0] - imaginary * far[1], -real * far[1] - imaginary * far[0]), dim=-2)
    taps: Tensor = 2 * (outer.transpose(-1, -2) @ torch.cat(near, dim=-2))
    taps = taps.flatten(-2)[..., :length]
    return taps


class Convolution(torch.autograd.Function):
    """Circular convolution of ``(batch, channels, length)`` with kernels ``(channels, 2 length)``, of which the first half."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernels: Tensor) -> Tensor:
        size = kernels.shape[-1]
        signal, response = torch.fft.rfft(x, n=size), torch.fft.rfft(kernels)
        ctx.save_for_backward(signal, response)
        answers: Tensor = torch.fft.irfft(signal * response, n=size)[..., : x.shape[-1]]
        return answers

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        signal, response = ctx.saved_tensors
        size = 2 * gradients[0].shape[-1]
        back = torch.fft.rfft(gradients[0], n=size)
        to_signal = torch.fft.irfft(back * response.conj(), n=size)[..., : size // 2]
        return to_signal, torch.fft.irfft((back * signal.conj()).sum(0), n=size)


def bidirectional_forward(layer: Any) -> Callable[[Tensor], tuple[Tensor, None]]:
    """Return what takes the place of the layer's ``forward``."""

    def forward(x: Tensor) -> tuple[Tensor, None]:
        x = x.transpose(-1, -2).contiguous()
        length = x.shape[-1]
        past, future = kernels_of(layer.kernel, length)
        kernels = torch.cat((past, future.flip(-1)), dim=-1)
        # A circular convolution adds the direct path as the kernel's first tap.
        direct = nn.functional.pad(layer.D[0].unsqueeze(-1), (0, 2 * length - 1))
        y = Convolution.apply(x, kernels + direct)  # type: ignore[no-untyped-call]
        return layer.activation(y.transpose(-1, -2).contiguous()), None

    return forward
