"""Models whose layers have to be found out, as a user would write them; tests copy this file into a model directory."""

from __future__ import annotations

import torch
from torch import Tensor, nn

CHANNELS, TAPS = 4, 96


def damped(channels: int, taps: int, modes: int = 3) -> Tensor:
    """Sums of damped cosines, ``(channels, taps)``, the first tap the latest sample's."""
    decay = torch.rand(channels, modes, 1) * 0.2 + 0.08
    waves = torch.exp(-decay * torch.arange(taps)) * torch.cos(3 * torch.rand(channels, modes, 1) * torch.arange(taps))
    return (torch.randn(channels, modes, 1) * waves).sum(1)


def trained(conv: nn.Conv1d) -> nn.Conv1d:
    """The convolution with taps that die away."""
    with torch.no_grad():
        conv.weight.copy_(damped(CHANNELS, TAPS).flip(-1)[:, None])
    return conv


class Mixer(nn.Module):
    """One residual layer around a filter of ``(batch, channels, time)``."""

    def __init__(self, filter: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(CHANNELS)
        self.filter = filter
        self.mix = nn.Linear(CHANNELS, CHANNELS)

    def forward(self, z: Tensor) -> Tensor:
        y = self.filter(self.norm(z).transpose(1, 2)).transpose(1, 2)
        out: Tensor = z + self.mix(nn.functional.gelu(y))
        return out


class LeftPadded(nn.Module):
    """A depthwise convolution behind padding on the left."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = trained(nn.Conv1d(CHANNELS, CHANNELS, TAPS, groups=CHANNELS))

    def forward(self, u: Tensor) -> Tensor:
        y: Tensor = self.conv(nn.functional.pad(u, (TAPS - 1, 0)))
        return y


class CutOff(nn.Module):
    """A depthwise convolution padded on both sides, and its tail cut off."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = trained(nn.Conv1d(CHANNELS, CHANNELS, TAPS, groups=CHANNELS, padding=TAPS - 1, bias=False))

    def forward(self, u: Tensor) -> Tensor:
        y: Tensor = self.conv(u)[..., : u.shape[-1]]
        return y


class ImplicitFilter(nn.Module):
    """A filter whose taps a small network computes from their positions, under a decaying window."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, CHANNELS))

    def forward(self, u: Tensor) -> Tensor:
        length = u.shape[-1]
        time = torch.arange(length, dtype=u.dtype)[:, None]
        taps = (self.network(torch.cat((torch.cos(time / 20), torch.sin(time / 20)), -1)) * torch.exp(-0.08 * time)).mT
        product = torch.fft.rfft(u, n=2 * length) * torch.fft.rfft(taps, n=2 * length)
        y: Tensor = torch.fft.irfft(product, n=2 * length)[..., :length]
        return y


class Blend(nn.Module):
    """An implicit filter between two products with matrices, with a constant added: many inputs and outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.filter, self.leave = nn.Conv1d(CHANNELS, CHANNELS, 1), ImplicitFilter(), nn.Conv1d(CHANNELS, CHANNELS, 1)
        nn.init.zeros_(self.enter.bias)  # type: ignore[arg-type]  # it has one

    def forward(self, u: Tensor) -> Tensor:
        y: Tensor = self.leave(self.filter(self.enter(u)))
        return y


class Gate(nn.Module):
    """A layer with the parts of a selective one, written so that it can be exported."""

    def __init__(self) -> None:
        super().__init__()
        self.A_log = nn.Parameter(torch.zeros(CHANNELS))
        self.x_proj = nn.Linear(CHANNELS, 2)
        self.dt_proj = nn.Linear(2, CHANNELS)

    def forward(self, u: Tensor) -> Tensor:
        step = torch.sigmoid(self.dt_proj(self.x_proj(u.transpose(1, 2)))).transpose(1, 2)
        return u * step * torch.exp(-torch.exp(self.A_log))[:, None]


class Classifier(nn.Module):
    """Layers, a mean over time, three classes."""

    def __init__(self, filters: list[nn.Module]) -> None:
        super().__init__()
        self.encoder = nn.Linear(1, CHANNELS)
        self.blocks = nn.ModuleList(Mixer(filter) for filter in filters)
        self.decoder = nn.Linear(CHANNELS, 3)

    def forward(self, pixels: Tensor) -> Tensor:
        z = self.encoder(pixels)
        for block in self.blocks:
            z = block(z)
        scores: Tensor = self.decoder(z.mean(1))
        return scores


def convolutions() -> nn.Module:
    """Two long convolutions, padded in the two usual ways."""
    torch.manual_seed(0)
    return Classifier([LeftPadded(), CutOff()])


def implicit() -> nn.Module:
    """Two filters that only the user knows to be LTI."""
    torch.manual_seed(1)
    return Classifier([ImplicitFilter(), ImplicitFilter()])


def blends() -> nn.Module:
    """Two MIMO systems that only the user knows to be LTI."""
    torch.manual_seed(1)
    return Classifier([Blend(), Blend()])


def half_selective() -> nn.Module:
    """A long convolution and a selective layer."""
    torch.manual_seed(2)
    return Classifier([CutOff(), Gate()])


def selective() -> nn.Module:
    """Nothing that could be reduced."""
    torch.manual_seed(3)
    return Classifier([Gate()])
