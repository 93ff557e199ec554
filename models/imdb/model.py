"""A deep bidirectional S4D classifier of film reviews read byte by byte, up to 4,096 of them.

The layer has the published parameterisation of S4D (Gu et al., "On the Parameterization and Initialization of Diagonal State
Space Models", 2022) with a second bank of kernels that runs backwards in time, in the structure of the authors' S4 block: long
convolution, GELU, gated linear mixing.  A mask says which bytes are the review's, so that reviews of unlike lengths stand in one
batch and padding changes no answer.  This file is what a user of ssm2edge hands in; it imports torch and nothing else.
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
        Real states per channel and direction; half as many complex ones are stored.
    directions
        Kernels per channel: they share their poles.
    """

    def __init__(self, channels: int, states: int, directions: int, dt_min: float = 5e-3, dt_max: float = 0.5) -> None:
        super().__init__()
        self.disc = "zoh"
        modes = states // 2
        log_dt = torch.rand(channels, 1) * (math.log(dt_max) - math.log(dt_min)) + math.log(dt_min)
        self.inv_dt = nn.Parameter(log_dt)
        self.A_real = nn.Parameter(torch.log(0.5 * torch.ones(channels, modes)))
        self.A_imag = nn.Parameter(math.pi * torch.arange(modes).float().repeat(channels, 1))
        self.B = nn.Parameter(torch.view_as_real(torch.ones(1, channels, modes, dtype=torch.cfloat)).contiguous())
        self.C = nn.Parameter(torch.view_as_real(torch.randn(directions, channels, modes, dtype=torch.cfloat)).contiguous())

    def modes(self) -> tuple[Tensor, Tensor]:
        """Coefficients ``(directions, channels, modes)`` and exponents ``(channels, modes)`` of the kernels."""
        A = torch.complex(-torch.exp(self.A_real), -self.A_imag)
        exponents = A * torch.exp(self.inv_dt)
        coefficients = torch.view_as_complex(self.C) * torch.view_as_complex(self.B)
        return coefficients * (torch.exp(exponents) - 1.0) / A, exponents

    def forward(self, length: int) -> Tensor:
        """Return the kernels, shape ``(directions, channels, length)``."""
        coefficients, exponents = self.modes()
        powers = torch.exp(exponents.unsqueeze(-1) * torch.arange(length, device=exponents.device))
        return 2 * torch.einsum("chn,hnl->chl", coefficients, powers).real


class FFTConv(nn.Module):
    """Long convolution in both directions with skip and GELU, ``(batch, time, channels) -> (batch, time, channels)``.

    The kernel of the past starts at the sample itself, that of the future at the sample after it.
    """

    def __init__(self, channels: int, states: int, dropout: float) -> None:
        super().__init__()
        self.transposed = False
        self.bidirectional = True
        self.D = nn.Parameter(torch.randn(1, channels))
        self.kernel = SSMKernelDiag(channels, states, 2)
        self.activation = nn.GELU()
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        x = x.transpose(-1, -2)
        length = x.size(-1)
        past, future = self.kernel(length)
        both = nn.functional.pad(past, (0, length)) + nn.functional.pad(future.flip(-1), (length, 0))
        y = torch.fft.irfft(torch.fft.rfft(both, n=2 * length) * torch.fft.rfft(x, n=2 * length), n=2 * length)[..., :length]
        y = y + x * self.D[0].unsqueeze(-1)
        return self.activation(self.drop(y).transpose(-1, -2)), None


class S4Block(nn.Module):
    """Long convolution, then gated linear mixing, ``(batch, time, channels) -> (batch, time, channels)``."""

    def __init__(self, channels: int, states: int, dropout: float) -> None:
        super().__init__()
        self.layer = FFTConv(channels, states, dropout)
        self.output_linear = nn.Sequential(nn.Linear(channels, 2 * channels), nn.GLU(dim=-1))

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        y, _ = self.layer(x)
        return self.output_linear(y), None


class ReviewClassifier(nn.Module):
    """Byte embedding, residual stack of S4 blocks with LayerNorm before each, mean over the review's bytes, linear head.

    ``forward`` maps ``text`` (batch, time), int64 bytes, and ``mask`` (batch, time), float32, one at the review's bytes and zero
    at those that pad it, to logits (batch, classes).
    """

    def __init__(self, channels: int, states: int, layers: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(256, channels)
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(layers))
        self.layers = nn.ModuleList(S4Block(channels, states, dropout) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(channels)
        self.decoder = nn.Linear(channels, classes)

    def features(self, text: Tensor, mask: Tensor) -> Tensor:
        """Return what the answer is a mean of, ``(batch, time, channels)``."""
        z = self.embedding(text)
        kept = mask.unsqueeze(-1)
        for norm, layer in zip(self.norms, self.layers, strict=True):
            # What a convolution spreads from padding would reach the review's bytes.
            y, _ = layer(norm(z) * kept)
            z = z + self.dropout(y)
        return self.norm(z)

    def forward(self, text: Tensor, mask: Tensor) -> Tensor:
        kept = mask.unsqueeze(-1)
        logits: Tensor = self.decoder((self.features(text, mask) * kept).sum(dim=1) / kept.sum(dim=1))
        return logits


def make(channels: int = 64, states: int = 64, layers: int = 4, classes: int = 2, dropout: float = 0.0) -> ReviewClassifier:
    """Factory named in build.toml."""
    return ReviewClassifier(channels, states, layers, classes, dropout)
