"""A deep classifier of film reviews read byte by byte, up to 4,096 of them, by linear recurrent units with quadratic outputs.

The layer is the linear recurrent unit (LRU; Orvieto et al., "Resurrecting Recurrent Neural Networks for Long Sequences", 2023),
one system of many inputs and outputs whose states all channels share, extended by quadratic outputs: a few directions of the
state are squared and mixed into the outputs.  GELU and gated linear mixing follow.  A mask says which bytes are the review's, so
that reviews of unlike lengths stand in one batch.  This file is what a user of ssm2edge hands in; it imports torch and nothing
else.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def scan(poles: Tensor, drive: Tensor) -> Tensor:
    """States ``x[k] = poles * x[k - 1] + drive[k]`` along the second axis, in log2(time) steps."""
    step, states, power = 1, drive, poles
    while step < drive.shape[1]:
        states = torch.cat((states[:, :step], states[:, step:] + power * states[:, :-step]), dim=1)
        step, power = 2 * step, power * power
    return states


class LRU(nn.Module):
    """Linear recurrent unit with quadratic outputs, ``(batch, time, channels) -> (batch, time, channels)``.

    With x the complex state, ``s = (Re x, Im x)`` and every matrix trained:

        x[k] = exp(-exp(nu) + i theta) x[k - 1] + gamma B u[k]        y[k] = Re(C x[k]) + D u[k] + W (V s[k - 1])^2

    Parameters
    ----------
    channels
        Inputs and outputs.
    modes
        Complex states, one of each conjugate pair.
    rank
        Squared directions.
    """

    def __init__(self, channels: int, modes: int, rank: int, r_min: float = 0.4, r_max: float = 0.995) -> None:
        super().__init__()
        squared_radius = torch.rand(modes) * (r_max**2 - r_min**2) + r_min**2
        self.nu_log = nn.Parameter(torch.log(-0.5 * torch.log(squared_radius)))
        self.theta_log = nn.Parameter(torch.log(math.pi * torch.rand(modes)))
        self.gamma_log = nn.Parameter(0.5 * torch.log(1 - squared_radius))
        self.B = nn.Parameter(torch.randn(modes, channels, dtype=torch.cfloat) / math.sqrt(channels))
        self.C = nn.Parameter(torch.randn(channels, modes, dtype=torch.cfloat) / math.sqrt(modes))
        self.D = nn.Parameter(torch.randn(channels))
        self.V = nn.Parameter(torch.randn(rank, 2 * modes) / math.sqrt(2 * modes))
        self.W = nn.Parameter(0.1 * torch.randn(channels, rank) / math.sqrt(rank))

    def forward(self, u: Tensor) -> Tensor:
        poles = torch.exp(torch.complex(-torch.exp(self.nu_log), torch.exp(self.theta_log)))
        drive = u.to(self.B.dtype) @ (torch.exp(self.gamma_log).unsqueeze(-1) * self.B).transpose(0, 1)
        x = scan(poles, drive)
        before = torch.cat((torch.zeros_like(x[:, :1]), x[:, :-1]), dim=1)
        squares = (torch.cat((before.real, before.imag), dim=-1) @ self.V.transpose(0, 1)) ** 2
        return (x @ self.C.transpose(0, 1)).real + self.D * u + squares @ self.W.transpose(0, 1)


class Block(nn.Module):
    """LRU, GELU, gated linear mixing, ``(batch, time, channels) -> (batch, time, channels)``."""

    def __init__(self, channels: int, modes: int, rank: int) -> None:
        super().__init__()
        self.layer = LRU(channels, modes, rank)
        self.output_linear = nn.Sequential(nn.Linear(channels, 2 * channels), nn.GLU(dim=-1))

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.output_linear(nn.functional.gelu(self.layer(x)))
        return mixed


class ReviewClassifier(nn.Module):
    """Byte embedding, residual stack of LRU blocks with LayerNorm before each, mean over the review's bytes, linear head.

    ``forward`` maps ``text`` (batch, time), int64 bytes, and ``mask`` (batch, time), float32, one at the review's bytes and zero
    at those that pad it, to logits (batch, classes).
    """

    def __init__(self, channels: int, modes: int, rank: int, layers: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(256, channels)
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(layers))
        self.layers = nn.ModuleList(Block(channels, modes, rank) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(channels)
        self.decoder = nn.Linear(channels, classes)

    def features(self, text: Tensor, mask: Tensor) -> Tensor:
        """Return what the answer is a mean of, ``(batch, time, channels)``."""
        z = self.embedding(text)
        kept = mask.unsqueeze(-1)
        for norm, layer in zip(self.norms, self.layers, strict=True):
            # What the states carry on from padding would reach the review's bytes.
            z = z + self.dropout(layer(norm(z) * kept))
        return self.norm(z)

    def forward(self, text: Tensor, mask: Tensor) -> Tensor:
        kept = mask.unsqueeze(-1)
        logits: Tensor = self.decoder((self.features(text, mask) * kept).sum(dim=1) / kept.sum(dim=1))
        return logits


def make(
    channels: int = 64, states: int = 64, rank: int = 32, layers: int = 4, classes: int = 2, dropout: float = 0.0
) -> ReviewClassifier:
    """Factory named in build.toml; of the states, which are real ones, half as many complex ones are stored."""
    return ReviewClassifier(channels, states // 2, rank, layers, classes, dropout)
