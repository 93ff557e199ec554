"""Layers that share their poles."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.digits.model import S4D

WIDTH = 5


class Frozen(nn.Module):
    """S4D layers with the same poles and steps, outputs and mixing each layer's own."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.encoder, self.layers = nn.Linear(2, WIDTH), nn.ModuleList(S4D(WIDTH, 4) for _ in range(depth))
        first = self.layers[0].kernel
        for layer in self.layers:
            for name in ("log_dt", "log_A_real", "A_imag"):
                setattr(layer.kernel, name, nn.Parameter(getattr(first, name).detach().clone(), requires_grad=False))

    def forward(self, u: Tensor) -> Tensor:
        z = self.encoder(u)
        for layer in self.layers:
            z = z + torch.tanh(layer(z.mT)[0].mT)
        return z
