"""Small LTI and nearly-LTI modules, and models around them, for the tests of what is found out by measuring."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ssm2edge.layers import Examples, find_layers, realise_layers, replace_layers

CHANNELS, LENGTH = 4, 128


class DampedFilter(nn.Module):
    """Each channel convolved with a sum of damped cosines that it stores in its own way: ``(batch, channels, time)``."""

    def __init__(self, channels: int = CHANNELS, modes: int = 3) -> None:
        super().__init__()
        self.decay = nn.Parameter(torch.rand(channels, modes) * 0.2 + 0.03)
        self.angle = nn.Parameter(torch.rand(channels, modes) * 3)
        self.gain = nn.Parameter(torch.randn(channels, modes))
        self.skip = nn.Parameter(torch.randn(channels))

    def kernel(self, length: int) -> Tensor:
        """``(channels, length)``."""
        time = torch.arange(length, dtype=self.decay.dtype)
        waves = torch.exp(-self.decay[..., None] * time) * torch.cos(self.angle[..., None] * time)
        return (self.gain[..., None] * waves).sum(1)

    def forward(self, u: Tensor) -> Tensor:
        length = u.shape[-1]
        points = 2 * length
        product = torch.fft.rfft(u, n=points) * torch.fft.rfft(self.kernel(length), n=points)
        return torch.fft.irfft(product, n=points)[..., :length] + self.skip[:, None] * u


class TimeFirst(nn.Module):
    """A module of ``(batch, channels, time)`` called with ``(batch, time, channels)``."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, u: Tensor) -> Tensor:
        y: Tensor = self.inner(u.transpose(1, 2)).transpose(1, 2)
        return y


class Mixing(nn.Module):
    """A filter between two products with matrices, with a constant added: a MIMO system, ``(batch, time, channels)``."""

    def __init__(self, inputs: int = CHANNELS, outputs: int = CHANNELS) -> None:
        super().__init__()
        self.enter = nn.Linear(inputs, 3, bias=False)
        self.filter = TimeFirst(DampedFilter(3, 1))
        self.leave = nn.Linear(3, outputs)

    def forward(self, u: Tensor) -> Tensor:
        y: Tensor = self.leave(self.filter(self.enter(u)))
        return y


class ImplicitFilter(nn.Module):
    """A filter whose taps a small network computes from their positions, under a decaying window, as in Hyena."""

    def __init__(self, channels: int = CHANNELS, width: int = 16) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, channels))
        self.bias = nn.Parameter(torch.randn(channels))
        self.register_buffer("rates", torch.linspace(0.03, 0.15, channels))

    def kernel(self, length: int) -> Tensor:
        """``(channels, length)``."""
        dtype = self.bias.dtype
        time = torch.arange(length, dtype=dtype)[:, None]
        position = torch.cat((time / LENGTH, torch.cos(time / 20), torch.sin(time / 20)), dim=-1)
        window = torch.exp(-self.rates.to(dtype) * time)  # type: ignore[operator]  # a buffer is a tensor
        return (self.network(position) * window).mT

    def forward(self, u: Tensor, length: int, gain: Tensor | None = None) -> tuple[Tensor, None]:
        points = 2 * length
        product = torch.fft.rfft(u, n=points) * torch.fft.rfft(self.kernel(length), n=points)
        y = torch.fft.irfft(product, n=points)[..., :length] + self.bias[:, None] * u
        return (y if gain is None else y * gain), None


class Around(nn.Module):
    """``(batch, time, 2)`` encoded, through one module, an activation and a decoder."""

    def __init__(self, inner: nn.Module, time_first: bool = False, channels: int = CHANNELS) -> None:
        super().__init__()
        self.encoder = nn.Linear(2, channels)
        self.inner = inner
        self.decoder = nn.Linear(channels, 3)
        self.time_first = time_first

    def forward(self, samples: Tensor) -> Tensor:
        z = self.encoder(samples)
        y: Any = self.inner(z) if self.time_first else self.inner(z.transpose(1, 2))
        y = y[0] if isinstance(y, tuple) else y
        y = y if self.time_first else y.transpose(1, 2)
        out: Tensor = self.decoder(torch.tanh(y) + z)
        return out


def examples(length: int = LENGTH) -> Examples:
    """Two sequences of two features."""
    return Examples.of([torch.randn((2, length, 2), generator=torch.Generator().manual_seed(1))], [1])


def at_full_order(model: nn.Module, inputs: Examples | None = None, **options: Any) -> tuple[nn.Module, nn.Module]:
    """The model with its layers found out, and with full-order blocks in their places."""
    known = realise_layers(model, inputs or examples(), **options)
    return known, replace_layers(known, {layer.name: layer.system for layer in find_layers(known)})


def sine_window(length: int) -> Tensor:
    """One period of a sine under a decaying window, ``(length,)``."""
    time = torch.arange(length)
    return torch.sin(2 * math.pi * time / length) * torch.exp(-6 * time / length)
