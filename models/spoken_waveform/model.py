"""A deep S4D classifier of spoken digits from the waveform itself, 8,000 samples a second, without a front end.

The layer has the published parameterisation of S4D (Gu et al., "On the Parameterization and Initialization of Diagonal State
Space Models", 2022) in the structure of the authors' S4 block: long convolution, GELU, gated linear mixing.  This file is what a
user of ssm2edge hands in; it imports torch and nothing else.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class SSMKernelDiag(nn.Module):
    """Convolution kernels of diagonal systems discretised by zero-order hold.

    Parameters
    ----------
    channels
        Number of independent channels.
    states
        Real states per channel; half as many complex ones are stored.
    """

    def __init__(self, channels: int, states: int, dt_min: float = 5e-3, dt_max: float = 0.5) -> None:
        super().__init__()
        self.disc = "zoh"
        modes = states // 2
        log_dt = torch.rand(channels, 1) * (math.log(dt_max) - math.log(dt_min)) + math.log(dt_min)
        self.inv_dt = nn.Parameter(log_dt)
        self.A_real = nn.Parameter(torch.log(0.5 * torch.ones(channels, modes)))
        self.A_imag = nn.Parameter(math.pi * torch.arange(modes).float().repeat(channels, 1))
        self.B = nn.Parameter(torch.view_as_real(torch.ones(1, channels, modes, dtype=torch.cfloat)).contiguous())
        self.C = nn.Parameter(torch.view_as_real(torch.randn(1, channels, modes, dtype=torch.cfloat)).contiguous())

    def modes(self) -> tuple[Tensor, Tensor]:
        """Coefficients ``(1, channels, modes)`` and exponents ``(channels, modes)`` of the kernels."""
        A = torch.complex(-torch.exp(self.A_real), -self.A_imag)
        exponents = A * torch.exp(self.inv_dt)
        coefficients = torch.view_as_complex(self.C) * torch.view_as_complex(self.B)
        return coefficients * (torch.exp(exponents) - 1.0) / A, exponents

    def forward(self, length: int) -> Tensor:
        """Return the kernels, shape ``(1, channels, length)``."""
        coefficients, exponents = self.modes()
        powers = torch.exp(exponents.unsqueeze(-1) * torch.arange(length, device=exponents.device))
        return 2 * torch.einsum("chn,hnl->chl", coefficients, powers).real


class FFTConv(nn.Module):
    """Long convolution with skip and GELU, ``(batch, time, channels) -> (batch, time, channels)``."""

    def __init__(self, channels: int, states: int, dropout: float, dt_max: float) -> None:
        super().__init__()
        self.transposed = False
        self.bidirectional = False
        self.D = nn.Parameter(torch.randn(1, channels))
        self.kernel = SSMKernelDiag(channels, states, dt_max=dt_max)
        self.activation = nn.GELU()
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        x = x.transpose(-1, -2)
        length = x.size(-1)
        spectrum = torch.fft.rfft(self.kernel(length)[0], n=2 * length) * torch.fft.rfft(x, n=2 * length)
        y = torch.fft.irfft(spectrum, n=2 * length)[..., :length] + x * self.D[0].unsqueeze(-1)
        return self.activation(self.drop(y).transpose(-1, -2)), None


class S4Block(nn.Module):
    """Long convolution, then gated linear mixing, ``(batch, time, channels) -> (batch, time, channels)``."""

    def __init__(self, channels: int, states: int, dropout: float, dt_max: float = 0.5) -> None:
        super().__init__()
        self.layer = FFTConv(channels, states, dropout, dt_max)
        self.output_linear = nn.Sequential(nn.Linear(channels, 2 * channels), nn.GLU(dim=-1))

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        y, _ = self.layer(x)
        return self.output_linear(y), None


class WaveformClassifier(nn.Module):
    """An S4D block on samples, patches of its outputs, a residual stack of S4D blocks, mean pooling over time, a linear head.

    The first block is a bank of resonators and the energies behind them; the others follow 2.5 ms at a time.  ``forward`` maps
    ``sound`` (batch, time, 1), float32 from -1 to 1, to logits (batch, 10).
    """

    def __init__(self, bands: int, patch: int, channels: int, states: int, layers: int, dropout: float) -> None:
        super().__init__()
        # Sounds are faint: without a bias, and amplified, they reach where the activation is not linear.
        self.encoder = nn.Linear(1, bands, bias=False)
        nn.init.normal_(self.encoder.weight, std=10.0)
        self.bank = S4Block(bands, states, 0.0, dt_max=0.1)
        self.patches = nn.Conv1d(bands, channels, patch, stride=patch)
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(layers))
        self.layers = nn.ModuleList(S4Block(channels, states, dropout) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(channels)
        self.decoder = nn.Linear(channels, 10)

    def forward(self, sound: Tensor) -> Tensor:
        bands, _ = self.bank(self.encoder(sound))
        z = self.patches(bands.transpose(-1, -2)).transpose(-1, -2)
        for norm, layer in zip(self.norms, self.layers, strict=True):
            y, _ = layer(norm(z))
            z = z + self.dropout(y)
        logits: Tensor = self.decoder(self.norm(z).mean(dim=1))
        return logits


def make(
    bands: int = 16, patch: int = 20, channels: int = 64, states: int = 64, layers: int = 3, dropout: float = 0.0
) -> WaveformClassifier:
    """Factory named in build.toml."""
    return WaveformClassifier(bands, patch, channels, states, layers, dropout)
