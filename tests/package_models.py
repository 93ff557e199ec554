"""Networks on PyPI packages, as a user's model.py; its text is what a model directory in the tests holds."""

from __future__ import annotations

import torch
from LRU_pytorch import LRU
from s5 import S5, S5Block
from torch import Tensor, nn

from models.digits.model import S4D


class S5Network(nn.Module):
    """Blocks of s5-pytorch, and a class for the whole sequence."""

    def __init__(self, bidir: bool = False) -> None:
        super().__init__()
        self.encoder = nn.Linear(1, 6)
        self.blocks = nn.ModuleList(S5Block(6, 4, bidir, ff_dropout=0.1) for _ in range(2))
        self.decoder = nn.Linear(6, 3)

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.encoder(pixels)
        for block in self.blocks:
            x = block(x)
        y: Tensor = self.decoder(x.mean(1))
        return y


class LiquidNetwork(nn.Module):
    """A layer that is linear and time-invariant, and one that is not."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(1, 4)
        self.first, self.second = S5(4, 3), S5(4, 3, liquid=True)
        self.decoder = nn.Linear(4, 3)

    def forward(self, pixels: Tensor) -> Tensor:
        y: Tensor = self.decoder(self.second(self.first(self.encoder(pixels))).mean(1))
        return y


class LRUNetwork(nn.Module):
    """Units of lru-pytorch between norms and gates, and an answer for every sample."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(1, 5)
        self.units = nn.ModuleList(LRU(5, 5, 4, rmin=0.6, rmax=0.95, max_phase=3.14) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(5) for _ in range(2))
        self.gates = nn.ModuleList(nn.Sequential(nn.Linear(5, 10), nn.GLU()) for _ in range(2))
        self.decoder = nn.Linear(5, 2)

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.encoder(pixels)
        for unit, norm, gate in zip(self.units, self.norms, self.gates, strict=True):
            x = x + gate(nn.functional.gelu(unit(norm(x))))
        y: Tensor = self.decoder(x)
        return y


class MixedNetwork(nn.Module):
    """An S4D layer below, channels before time, and a block of s5-pytorch above."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(1, 4)
        self.below = S4D(4, 6)
        self.above = S5Block(4, 3, False)
        self.decoder = nn.Linear(4, 3)

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.encoder(pixels)
        x = x + self.below(x.transpose(1, 2))[0].transpose(1, 2)
        y: Tensor = self.decoder(self.above(x).mean(1))
        return y


def make(network: str, **arguments: bool) -> nn.Module:
    """What the directory's factory makes."""
    torch.manual_seed(0)
    networks: dict[str, type[nn.Module]] = {"s5": S5Network, "lru": LRUNetwork, "mixed": MixedNetwork, "liquid": LiquidNetwork}
    return networks[network](**arguments)
