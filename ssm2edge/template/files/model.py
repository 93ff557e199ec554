"""The model: put yours in its place.

Keep a function, named in build.toml, that returns a ``torch.nn.Module``.  Its linear recurrent layers are found by
their parameters at any nesting; ``ssm2edge inspect`` lists them.  This one has linear recurrent units (Orvieto et al., 2023).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class LRU(nn.Module):
    """Linear recurrent unit, ``(batch, time, width) -> (batch, time, width)``, one sample after the other."""

    def __init__(self, width: int, states: int) -> None:
        super().__init__()
        modes = states // 2
        radius = torch.sqrt(0.5 + 0.45 * torch.rand(modes))
        self.nu_log = nn.Parameter(torch.log(-torch.log(radius)))
        self.theta_log = nn.Parameter(torch.log(math.pi * torch.rand(modes)))
        self.gamma_log = nn.Parameter(0.5 * torch.log(1 - radius**2))
        self.B = nn.Parameter(torch.randn(modes, width, dtype=torch.cfloat) / math.sqrt(width))
        self.C = nn.Parameter(torch.randn(width, modes, dtype=torch.cfloat) / math.sqrt(modes))
        self.D = nn.Parameter(torch.randn(width))

    def forward(self, u: Tensor) -> Tensor:
        poles = torch.exp(torch.complex(-torch.exp(self.nu_log), torch.exp(self.theta_log)))
        drive = u.to(self.B.dtype) @ (torch.exp(self.gamma_log).unsqueeze(-1) * self.B).transpose(0, 1)
        x, states = torch.zeros_like(drive[:, 0]), []
        for k in range(u.shape[1]):
            x = poles * x + drive[:, k]
            states.append(x)
        return (torch.stack(states, dim=1) @ self.C.transpose(0, 1)).real + self.D * u


class Classifier(nn.Module):
    """``forward`` maps ``signal`` (batch, time, features), float32, to logits (batch, classes)."""

    def __init__(self, features: int, width: int, states: int, layers: int, classes: int) -> None:
        super().__init__()
        self.encoder = nn.Linear(features, width)
        self.layers = nn.ModuleList(LRU(width, states) for _ in range(layers))
        self.mixings = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        self.decoder = nn.Linear(width, classes)

    def forward(self, signal: Tensor) -> Tensor:
        z = self.encoder(signal)
        for layer, mixing in zip(self.layers, self.mixings, strict=True):
            z = z + mixing(nn.functional.gelu(layer(z)))
        logits: Tensor = self.decoder(z.mean(dim=1))
        return logits


def make(features: int = 4, width: int = 16, states: int = 32, layers: int = 2, classes: int = 3) -> Classifier:
    """Factory named in build.toml."""
    return Classifier(features, width, states, layers, classes)
