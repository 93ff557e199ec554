"""A deep S4 classifier of spoken words from log-mel frames.

The layer has the published parameterisation of S4 (Gu, Goel and Ré, "Efficiently Modeling Long Sequences with Structured State
Spaces", 2022): a state matrix that is diagonal plus low rank, discretised by the bilinear rule, with its kernel evaluated at the
roots of unity, inside a block of long convolution, GELU and gated linear mixing.  Names and shapes of the parameters are those
of the authors' code, so that weights can be exchanged with it.  This file is what a user of ssm2edge hands in; it imports torch
and nothing else.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def legs(states: int) -> tuple[Tensor, Tensor, Tensor]:
    """HiPPO-LegS as diagonal plus low rank: half of its conjugate pairs of eigenvalues, low-rank factor and input vector."""
    n = torch.arange(states, dtype=torch.float64)
    root = torch.sqrt(2 * n + 1)
    state_matrix = -(torch.tril(root[:, None] * root[None, :], -1) + torch.diag(n + 1))
    factor = torch.sqrt(n + 0.5)
    normal = state_matrix + factor[:, None] * factor[None, :]
    # Up to -1/2 on its diagonal the normal part is skew-symmetric: i times it has real eigenvalues.
    imaginary, vectors = torch.linalg.eigh((normal + 0.5 * torch.eye(states, dtype=torch.float64)) * -1j)
    kept = imaginary < 0
    basis = vectors[:, kept]
    poles = torch.complex(torch.full_like(imaginary[kept], -0.5), imaginary[kept])
    return poles, basis.conj().T @ factor.to(basis.dtype), basis.conj().T @ root.to(basis.dtype)


def pairs(x: Tensor) -> Tensor:
    """Both poles of each conjugate pair along the last axis."""
    return torch.cat((x, x.conj()), dim=-1)


class SSMKernelDPLR(nn.Module):
    """Convolution kernels of a bank of systems whose state matrix is ``diag(A) - P P^*``.

    ``C`` holds C (I - Abar^l) for kernels of ``l_kernel`` taps, as trained: the kernel of that length is then a rational function
    at the roots of unity.

    Parameters
    ----------
    channels
        Number of independent channels.
    states
        Real states per channel; half as many complex ones are stored.
    length
        Taps of the kernel.
    """

    l_kernel: Tensor

    def __init__(self, channels: int, states: int, length: int, dt_min: float = 5e-3, dt_max: float = 0.2) -> None:
        super().__init__()
        modes = states // 2
        poles, factor, inputs = legs(states)
        log_dt = torch.rand(channels, 1) * (math.log(dt_max) - math.log(dt_min)) + math.log(dt_min)
        self.inv_dt = nn.Parameter(log_dt)
        self.A_real = nn.Parameter(torch.log(-poles.real).float().repeat(channels, 1))
        self.A_imag = nn.Parameter(-poles.imag.float().repeat(channels, 1))
        self.B = nn.Parameter(torch.view_as_real(inputs.to(torch.cfloat).repeat(1, channels, 1)).contiguous())
        self.P = nn.Parameter(torch.view_as_real(factor.to(torch.cfloat).repeat(1, channels, 1)).contiguous())
        self.C = nn.Parameter(torch.view_as_real(torch.randn(1, channels, modes, dtype=torch.cfloat)).contiguous())
        self.register_buffer("l_kernel", torch.tensor(length))

    def state_matrix(self) -> Tensor:
        """The discretised state matrices Abar ``(channels, states, states)`` by the bilinear rule."""
        dt = torch.exp(self.inv_dt).unsqueeze(-1)
        P = pairs(torch.view_as_complex(self.P)[0])
        A = torch.diag_embed(pairs(torch.complex(-torch.exp(self.A_real), -self.A_imag))) - P.unsqueeze(-1) * P.conj().unsqueeze(
            -2
        )
        identity = torch.eye(A.shape[-1])
        return torch.linalg.solve(identity - dt / 2 * A, identity + dt / 2 * A)

    def forward(self, length: int) -> Tensor:
        """Return the kernels, shape ``(channels, length)``."""
        taps, C = int(self.l_kernel), torch.view_as_complex(self.C)[0]
        while taps < length:
            # C (I - Abar^2l) = C (I - Abar^l) (I + Abar^l)
            both = pairs(C)
            C = (both + (both.unsqueeze(-2) @ torch.linalg.matrix_power(self.state_matrix(), taps)).squeeze(-2))[:, : C.shape[-1]]
            taps *= 2
        dt = torch.exp(self.inv_dt)
        A = pairs(torch.complex(-torch.exp(self.A_real), -self.A_imag) * dt)
        B, P = (pairs(torch.view_as_complex(x)[0] * dt) for x in (self.B, self.P))
        C, Q = pairs(C), pairs(torch.view_as_complex(self.P)[0].conj())
        omega = torch.exp(torch.arange(taps // 2 + 1) * (-2j * math.pi / taps))
        sums, differences = 1 + omega, 2 * (1 - omega)
        inverse = 1 / (differences - A.unsqueeze(-1) * sums)
        CB, CP, QB, QP = (((x * y).unsqueeze(-2) @ inverse).squeeze(-2) for x, y in ((C, B), (C, P), (Q, B), (Q, P)))
        # Woodbury's identity for the low-rank part
        spectrum = 2 * (CB - sums * CP * QB / (1 + sums * QP))
        return torch.fft.irfft(spectrum, n=taps)[:, :length]


class FFTConv(nn.Module):
    """Long convolution with skip and GELU, ``(batch, time, channels) -> (batch, time, channels)``."""

    def __init__(self, channels: int, states: int, length: int, dropout: float) -> None:
        super().__init__()
        self.transposed = False
        self.bidirectional = False
        self.D = nn.Parameter(torch.randn(1, channels))
        self.kernel = SSMKernelDPLR(channels, states, length)
        self.activation = nn.GELU()
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        x = x.transpose(-1, -2)
        length = x.size(-1)
        spectrum = torch.fft.rfft(self.kernel(length), n=2 * length) * torch.fft.rfft(x, n=2 * length)
        y = torch.fft.irfft(spectrum, n=2 * length)[..., :length] + x * self.D[0].unsqueeze(-1)
        return self.activation(self.drop(y).transpose(-1, -2)), None


class S4Block(nn.Module):
    """Long convolution, then gated linear mixing, ``(batch, time, channels) -> (batch, time, channels)``."""

    def __init__(self, channels: int, states: int, length: int, dropout: float) -> None:
        super().__init__()
        self.layer = FFTConv(channels, states, length, dropout)
        self.output_linear = nn.Sequential(nn.Linear(channels, 2 * channels), nn.GLU(dim=-1))

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        y, _ = self.layer(x)
        return self.output_linear(y), None


class WordClassifier(nn.Module):
    """Residual stack of S4 blocks with LayerNorm before each, mean pooling over time and a linear head.

    ``forward`` maps ``frames`` (batch, time, mels), float32 log-mel energies, to logits (batch, words).
    """

    def __init__(self, mels: int, channels: int, states: int, layers: int, words: int, length: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.encoder = nn.Linear(mels, channels)
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(layers))
        self.layers = nn.ModuleList(S4Block(channels, states, length, dropout) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(channels)
        self.decoder = nn.Linear(channels, words)

    def forward(self, frames: Tensor) -> Tensor:
        z = self.encoder(frames)
        for norm, layer in zip(self.norms, self.layers, strict=True):
            y, _ = layer(norm(z))
            z = z + self.dropout(y)
        logits: Tensor = self.decoder(self.norm(z).mean(dim=1))
        return logits


def make(
    mels: int = 40, channels: int = 64, states: int = 64, layers: int = 3, words: int = 10, length: int = 98, dropout: float = 0.0
) -> WordClassifier:
    """Factory named in build.toml."""
    return WordClassifier(mels, channels, states, layers, words, length, dropout)
