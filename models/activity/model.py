"""A deep state-space classifier of movements from the six motion sensors of a watch, with an answer at every sample.

Each layer is a linear recurrent unit (LRU; Orvieto et al., "Resurrecting Recurrent Neural Networks for Long Sequences", 2023):
one block of many inputs and outputs on a diagonal complex state.  This file is what a user of ssm2edge hands in; it imports
torch and nothing else.
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
    """Linear recurrent unit, ``(batch, time, width) -> (batch, time, width)``.

    With x the complex state and every matrix trained:

        x[k] = exp(-exp(nu) + i theta) x[k - 1] + gamma B u[k]        y[k] = Re(C x[k]) + D u[k]

    Parameters
    ----------
    width
        Inputs and outputs.
    states
        Real states; half as many complex ones are stored.
    """

    def __init__(self, width: int, states: int, r_min: float = 0.6, r_max: float = 0.99, max_phase: float = math.pi / 4) -> None:
        super().__init__()
        modes = states // 2
        squared_radius = torch.rand(modes) * (r_max**2 - r_min**2) + r_min**2
        self.nu_log = nn.Parameter(torch.log(-0.5 * torch.log(squared_radius)))
        self.theta_log = nn.Parameter(torch.log(max_phase * torch.rand(modes)))
        self.gamma_log = nn.Parameter(0.5 * torch.log(1 - squared_radius))
        self.B = nn.Parameter(torch.randn(modes, width, dtype=torch.cfloat) / math.sqrt(width))
        self.C = nn.Parameter(torch.randn(width, modes, dtype=torch.cfloat) / math.sqrt(modes))
        self.D = nn.Parameter(torch.randn(width))

    def forward(self, u: Tensor) -> Tensor:
        poles = torch.exp(torch.complex(-torch.exp(self.nu_log), torch.exp(self.theta_log)))
        drive = u.to(self.B.dtype) @ (torch.exp(self.gamma_log).unsqueeze(-1) * self.B).transpose(0, 1)
        return (scan(poles, drive) @ self.C.transpose(0, 1)).real + self.D * u


class Block(nn.Module):
    """Residual block: LayerNorm, LRU, GELU, gated linear mixing."""

    def __init__(self, width: int, states: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.lru = LRU(width, states)
        self.mix = nn.Linear(width, 2 * width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, z: Tensor) -> Tensor:
        y = self.dropout(nn.functional.gelu(self.lru(self.norm(z))))
        return z + self.dropout(nn.functional.glu(self.mix(y), dim=-1))


class MovementClassifier(nn.Module):
    """Residual stack of LRU blocks, mean pooling over time and a linear head.

    ``forward`` maps ``motion`` (batch, time, 6), float32, normalised as ``scripts/train_activity.py`` says, to logits
    (batch, 7).  Streamed, the mean runs: there is an answer at every sample.
    """

    def __init__(self, sensors: int, width: int, states: int, layers: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.encoder = nn.Linear(sensors, width)
        self.blocks = nn.Sequential(*(Block(width, states, dropout) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.decoder = nn.Linear(width, classes)

    def forward(self, motion: Tensor) -> Tensor:
        logits: Tensor = self.decoder(self.norm(self.blocks(self.encoder(motion))).mean(dim=1))
        return logits


def make(
    sensors: int = 6, width: int = 48, states: int = 128, layers: int = 2, classes: int = 7, dropout: float = 0.0
) -> MovementClassifier:
    """Factory named in build.toml."""
    return MovementClassifier(sensors, width, states, layers, classes, dropout)
