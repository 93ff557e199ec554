"""A deep state-space model that predicts the output of a nonlinear system sample by sample.

Each layer is a linear recurrent unit (LRU; Orvieto et al., "Resurrecting Recurrent Neural Networks for Long Sequences", 2023),
one block of many inputs and outputs on a diagonal complex state, extended by quadratic outputs: a few directions of the state
are squared and mixed into the outputs.  This file is what a user of ssm2edge hands in; it imports torch and nothing else.
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
    """Linear recurrent unit with quadratic outputs, ``(batch, time, width) -> (batch, time, width)``.

    With x the complex state, ``s = (Re x, Im x)`` and every matrix trained:

        x[k] = exp(-exp(nu) + i theta) x[k - 1] + gamma B u[k]        y[k] = Re(C x[k]) + D u[k] + W (V s[k - 1])^2

    so that output i has the quadratic term ``s^T M_i s`` with ``M_i = sum_j W_ij V_j^T V_j``.

    Parameters
    ----------
    width
        Inputs and outputs.
    states
        Real states; half as many complex ones are stored.
    rank
        Squared directions; 0 for the linear unit as published.
    """

    def __init__(
        self, width: int, states: int, rank: int, r_min: float = 0.3, r_max: float = 0.98, max_phase: float = math.pi
    ) -> None:
        super().__init__()
        modes = states // 2
        squared_radius = torch.rand(modes) * (r_max**2 - r_min**2) + r_min**2
        self.nu_log = nn.Parameter(torch.log(-0.5 * torch.log(squared_radius)))
        self.theta_log = nn.Parameter(torch.log(max_phase * torch.rand(modes)))
        self.gamma_log = nn.Parameter(0.5 * torch.log(1 - squared_radius))
        self.B = nn.Parameter(torch.randn(modes, width, dtype=torch.cfloat) / math.sqrt(width))
        self.C = nn.Parameter(torch.randn(width, modes, dtype=torch.cfloat) / math.sqrt(modes))
        self.D = nn.Parameter(torch.randn(width))
        self.V = nn.Parameter(torch.randn(rank, 2 * modes) / math.sqrt(2 * modes))
        self.W = nn.Parameter(0.1 * torch.randn(width, rank) / math.sqrt(max(rank, 1)))

    def forward(self, u: Tensor) -> Tensor:
        poles = torch.exp(torch.complex(-torch.exp(self.nu_log), torch.exp(self.theta_log)))
        drive = u.to(self.B.dtype) @ (torch.exp(self.gamma_log).unsqueeze(-1) * self.B).transpose(0, 1)
        x = scan(poles, drive)
        before = torch.cat((torch.zeros_like(x[:, :1]), x[:, :-1]), dim=1)
        squares = (torch.cat((before.real, before.imag), dim=-1) @ self.V.transpose(0, 1)) ** 2
        return (x @ self.C.transpose(0, 1)).real + self.D * u + squares @ self.W.transpose(0, 1)


class Block(nn.Module):
    """Residual block: LRU, GELU, linear mixing."""

    def __init__(self, width: int, states: int, rank: int) -> None:
        super().__init__()
        self.lru = LRU(width, states, rank)
        self.mix = nn.Linear(width, width)

    def forward(self, z: Tensor) -> Tensor:
        mixed: Tensor = self.mix(nn.functional.gelu(self.lru(z)))
        return z + mixed


class SystemModel(nn.Module):
    """Residual stack of LRU blocks between a linear encoder and head.

    ``forward`` maps the system's input ``(batch, time, 1)`` to its predicted output ``(batch, time, 1)``, float32.
    """

    def __init__(self, width: int, states: int, rank: int, layers: int) -> None:
        super().__init__()
        self.encoder = nn.Linear(1, width)
        self.layers = nn.Sequential(*(Block(width, states, rank) for _ in range(layers)))
        self.decoder = nn.Linear(width, 1)

    def forward(self, voltage: Tensor) -> Tensor:
        predicted: Tensor = self.decoder(self.layers(self.encoder(voltage)))
        return predicted


def make(width: int = 16, states: int = 64, rank: int = 8, layers: int = 2) -> SystemModel:
    """Factory named in build.toml."""
    return SystemModel(width, states, rank, layers)
