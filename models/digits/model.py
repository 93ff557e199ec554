"""A deep S4D classifier of handwritten digits read pixel by pixel.

The layer has the published parameterisation of S4D (Gu et al., "On the Parameterization and Initialization of Diagonal
State Space Models", 2022): ``log_dt``, ``log_A_real``, ``A_imag``, ``C`` and ``D``, discretised by zero-order hold, followed by
GELU and a gated pointwise convolution.  This file is what a user of ssm2edge hands in; it imports torch and nothing else.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class S4DKernel(nn.Module):
    """Convolution kernels of a bank of diagonal state-space systems.

    Parameters
    ----------
    channels
        Number of independent channels.
    states
        Real states per channel; half as many complex poles are stored.
    """

    def __init__(self, channels: int, states: int, dt_min: float = 1e-3, dt_max: float = 1e-1) -> None:
        super().__init__()
        modes = states // 2
        log_dt = torch.rand(channels) * (math.log(dt_max) - math.log(dt_min)) + math.log(dt_min)
        self.log_dt = nn.Parameter(log_dt)
        self.C = nn.Parameter(torch.view_as_real(torch.randn(channels, modes, dtype=torch.cfloat)))
        self.log_A_real = nn.Parameter(torch.log(0.5 * torch.ones(channels, modes)))
        self.A_imag = nn.Parameter(math.pi * torch.arange(modes).float().repeat(channels, 1))

    def forward(self, length: int) -> Tensor:
        """Return the kernels, shape ``(channels, length)``."""
        dt = torch.exp(self.log_dt)
        poles = -torch.exp(self.log_A_real) + 1j * self.A_imag
        scaled = poles * dt.unsqueeze(-1)
        coefficients = torch.view_as_complex(self.C) * (torch.exp(scaled) - 1.0) / poles
        powers = torch.exp(scaled.unsqueeze(-1) * torch.arange(length, device=scaled.device))
        return 2 * torch.einsum("hn,hnl->hl", coefficients, powers).real


class S4D(nn.Module):
    """One S4D layer on ``(batch, channels, time)``: long convolution, skip, GELU, gated pointwise mixing."""

    def __init__(self, channels: int, states: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.D = nn.Parameter(torch.randn(channels))
        self.kernel = S4DKernel(channels, states)
        self.activation = nn.GELU()
        self.dropout = nn.Dropout(dropout)
        self.output_linear = nn.Sequential(nn.Conv1d(channels, 2 * channels, kernel_size=1), nn.GLU(dim=-2))

    def forward(self, u: Tensor) -> tuple[Tensor, None]:
        length = u.size(-1)
        kernel = self.kernel(length)
        spectrum = torch.fft.rfft(kernel, n=2 * length) * torch.fft.rfft(u, n=2 * length)
        y = torch.fft.irfft(spectrum, n=2 * length)[..., :length]
        y = y + u * self.D.unsqueeze(-1)
        y = self.dropout(self.activation(y))
        return self.output_linear(y), None


class DigitClassifier(nn.Module):
    """Residual stack of S4D layers with LayerNorm before each, mean pooling over time and a linear head.

    ``forward`` maps pixels ``(batch, time, 1)``, float32 in [0, 1], to logits ``(batch, 10)``.
    """

    def __init__(self, channels: int, states: int, layers: int, classes: int = 10, dropout: float = 0.0) -> None:
        super().__init__()
        self.encoder = nn.Linear(1, channels)
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(layers))
        self.layers = nn.ModuleList(S4D(channels, states, dropout) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(channels)
        self.decoder = nn.Linear(channels, classes)

    def forward(self, pixels: Tensor) -> Tensor:
        z = self.encoder(pixels)
        for norm, layer in zip(self.norms, self.layers, strict=True):
            y, _ = layer(norm(z).transpose(-1, -2))
            z = z + self.dropout(y.transpose(-1, -2))
        return self.decoder(self.norm(z).mean(dim=1))


def make(channels: int = 64, states: int = 64, layers: int = 3, dropout: float = 0.0) -> DigitClassifier:
    """Factory named in build.toml."""
    return DigitClassifier(channels, states, layers, dropout=dropout)
