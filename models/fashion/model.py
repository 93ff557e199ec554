"""A deep S5 classifier of pictures of clothes, read row by row.

The layer is that of the Python package ``s5-pytorch`` (S5; Smith, Warrington and Linderman, "Simplified State Space Layers for
Sequence Modeling", 2023): one block of many inputs and outputs on a diagonal complex state.  This file is what a user of ssm2edge
hands in; it imports torch and that package.
"""

from __future__ import annotations

from s5 import S5
from torch import Tensor, nn


class Block(nn.Module):
    """Residual block: LayerNorm, S5, GELU, gated linear mixing."""

    def __init__(self, width: int, states: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        # Starts as HiPPO systems of 16 modes: the modes of a single large one would mostly be too fast to be sampled.
        self.s5 = S5(width, state_width=states // 2, block_count=states // 32, dt_min=0.01, dt_max=0.3)
        self.mix = nn.Linear(width, 2 * width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, z: Tensor) -> Tensor:
        y = self.dropout(nn.functional.gelu(self.s5(self.norm(z))))
        return z + self.dropout(nn.functional.glu(self.mix(y), dim=-1))


class ClothesClassifier(nn.Module):
    """Residual stack of S5 blocks, mean pooling over the rows and a linear head.

    ``forward`` maps ``rows`` (batch, 28, 28), float32 in [0, 1], the picture's rows from top to bottom, to logits (batch, 10).

    Parameters
    ----------
    pixels
        Of a row.
    width
        Features inside.
    states
        Real states of a layer; half as many complex ones are stored.
    """

    def __init__(self, pixels: int, width: int, states: int, layers: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.encoder = nn.Linear(pixels, width)
        self.blocks = nn.Sequential(*(Block(width, states, dropout) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.decoder = nn.Linear(width, classes)

    def forward(self, rows: Tensor) -> Tensor:
        logits: Tensor = self.decoder(self.norm(self.blocks(self.encoder(rows))).mean(dim=1))
        return logits


def make(
    pixels: int = 28, width: int = 48, states: int = 384, layers: int = 2, classes: int = 10, dropout: float = 0.0
) -> ClothesClassifier:
    """Factory named in build.toml."""
    return ClothesClassifier(pixels, width, states, layers, classes, dropout)
