"""A deep state-space model of the ground vibrations of an aircraft: a force in, three accelerations out, sample by sample.

The architecture and the sizes are those of Forgione, Mejari and Piga, "Model order reduction of deep structured state-space
models: a system-theoretic approach" (2024): linear recurrent units (LRU; Orvieto et al., "Resurrecting Recurrent Neural Networks
for Long Sequences", 2023) with a perceptron of one hidden layer after each.  This file is what a user of ssm2edge hands in; it
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


class LRU(nn.Module):
    """Linear recurrent unit, ``(batch, time, width) -> (batch, time, width)``.

    With x the complex state and every matrix trained:

        x[k] = exp(-exp(nu) + i theta) x[k - 1] + gamma B u[k]        y[k] = Re(C x[k]) + D u[k]

    Parameters
    ----------
    width
        Inputs and outputs.
    modes
        Complex states.
    """

    def __init__(self, width: int, modes: int, r_min: float = 0.8, r_max: float = 0.999, max_phase: float = math.pi / 4) -> None:
        super().__init__()
        squared_radius = torch.rand(modes) * (r_max**2 - r_min**2) + r_min**2
        self.nu_log = nn.Parameter(torch.log(-0.5 * torch.log(squared_radius)))
        self.theta_log = nn.Parameter(torch.log(max_phase * torch.rand(modes)))
        self.gamma_log = nn.Parameter(0.5 * torch.log(1 - squared_radius))
        self.B = nn.Parameter(torch.randn(modes, width, dtype=torch.cfloat) / math.sqrt(width))
        self.C = nn.Parameter(torch.randn(width, modes, dtype=torch.cfloat) / math.sqrt(modes))
        self.D = nn.Parameter(torch.randn(width, width) / math.sqrt(width))

    def forward(self, u: Tensor) -> Tensor:
        poles = torch.exp(torch.complex(-torch.exp(self.nu_log), torch.exp(self.theta_log)))
        drive = u.to(self.B.dtype) @ (torch.exp(self.gamma_log).unsqueeze(-1) * self.B).transpose(0, 1)
        return (scan(poles, drive) @ self.C.transpose(0, 1)).real + u @ self.D.transpose(0, 1)


class Block(nn.Module):
    """Residual block: LayerNorm, LRU, perceptron."""

    def __init__(self, width: int, modes: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.lru = LRU(width, modes)
        self.perceptron = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, z: Tensor) -> Tensor:
        y: Tensor = self.perceptron(self.lru(self.norm(z)))
        return z + y


class VibrationModel(nn.Module):
    """Residual stack of LRU blocks between a linear encoder and head.

    ``forward`` maps ``force`` (batch, time, 1), in newtons, to accelerations (batch, time, 3), float32.
    """

    def __init__(self, width: int, modes: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.encoder = nn.Linear(1, width)
        self.layers = nn.Sequential(*(Block(width, modes, hidden) for _ in range(layers)))
        self.decoder = nn.Linear(width, 3)

    def forward(self, force: Tensor) -> Tensor:
        accelerations: Tensor = self.decoder(self.layers(self.encoder(force)))
        return accelerations


def make(width: int = 50, modes: int = 100, hidden: int = 200, layers: int = 6) -> VibrationModel:
    """Factory named in build.toml."""
    return VibrationModel(width, modes, hidden, layers)
