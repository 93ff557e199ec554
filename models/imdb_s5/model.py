"""A deep bidirectional S5 classifier of film reviews read byte by byte, up to 4,096 of them.

The layer has the parameters of S5 as its JAX code has them (Smith et al., "Simplified State Space Layers for Sequence Modeling",
2023): one system of many inputs and outputs whose states all channels share, run over the reversed sequence as well, with an
output matrix of its own for that.  GELU and gated linear mixing follow.  A mask says which bytes are the review's, so that
reviews of unlike lengths stand in one batch and padding changes no answer.  This file is what a user of ssm2edge hands in; it
imports torch and nothing else.
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


class S5(nn.Module):
    """S5 layer in both directions, ``(batch, time, channels) -> (batch, time, channels)``.

    With x the complex state, z that of the reversed sequence, and every matrix trained:

        x[k] = p x[k - 1] + g B u[k]        z[k] = p z[k + 1] + g B u[k]        y[k] = 2 Re(C1 x[k] + C2 z[k]) + D u[k]

    where p and g are those of zero-order hold.

    Parameters
    ----------
    channels
        Inputs and outputs.
    modes
        Complex states, one of each conjugate pair.
    """

    def __init__(self, channels: int, modes: int, r_min: float = 0.4, r_max: float = 0.995) -> None:
        super().__init__()
        self.clip_eigs = True
        # With steps of one sample at first, radii and phases are spread as in the linear recurrent unit.
        squared_radius = torch.rand(modes) * (r_max**2 - r_min**2) + r_min**2
        self.Lambda_re = nn.Parameter(0.5 * torch.log(squared_radius))
        self.Lambda_im = nn.Parameter(math.pi * torch.rand(modes))
        self.log_step = nn.Parameter(torch.zeros(modes, 1))
        scale = torch.sqrt((1 - squared_radius) / channels)
        self.B = nn.Parameter(scale[:, None, None] * torch.randn(modes, channels, 2))
        self.C1 = nn.Parameter(torch.randn(channels, modes, 2) / (4 * modes) ** 0.5)
        self.C2 = nn.Parameter(torch.randn(channels, modes, 2) / (4 * modes) ** 0.5)
        self.D = nn.Parameter(torch.randn(channels))

    def discrete(self) -> tuple[Tensor, Tensor]:
        """Return poles ``(modes,)`` and input matrix ``(modes, channels)`` of the recurrence."""
        rates = torch.complex(self.Lambda_re.clamp(max=-1e-4), self.Lambda_im)
        poles = torch.exp(rates * torch.exp(self.log_step[:, 0]))
        return poles, ((poles - 1) / rates)[:, None] * torch.view_as_complex(self.B)

    def forward(self, u: Tensor) -> Tensor:
        poles, B = self.discrete()
        drive = u.to(B.dtype) @ B.transpose(0, 1)
        past = scan(poles, drive) @ torch.view_as_complex(self.C1).transpose(0, 1)
        future = scan(poles, drive.flip(1)).flip(1) @ torch.view_as_complex(self.C2).transpose(0, 1)
        return 2 * (past + future).real + self.D * u


class Block(nn.Module):
    """S5 layer, GELU, gated linear mixing, ``(batch, time, channels) -> (batch, time, channels)``."""

    def __init__(self, channels: int, modes: int) -> None:
        super().__init__()
        self.layer = S5(channels, modes)
        self.output_linear = nn.Sequential(nn.Linear(channels, 2 * channels), nn.GLU(dim=-1))

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.output_linear(nn.functional.gelu(self.layer(x)))
        return mixed


class ReviewClassifier(nn.Module):
    """Byte embedding, residual stack of S5 blocks with LayerNorm before each, mean over the review's bytes, linear head.

    ``forward`` maps ``text`` (batch, time), int64 bytes, and ``mask`` (batch, time), float32, one at the review's bytes and zero
    at those that pad it, to logits (batch, classes).
    """

    def __init__(self, channels: int, modes: int, layers: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(256, channels)
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(layers))
        self.layers = nn.ModuleList(Block(channels, modes) for _ in range(layers))
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


def make(channels: int = 64, states: int = 64, layers: int = 4, classes: int = 2, dropout: float = 0.0) -> ReviewClassifier:
    """Factory named in build.toml; of the states, which are real ones, half as many complex ones are stored."""
    return ReviewClassifier(channels, states // 2, layers, classes, dropout)
