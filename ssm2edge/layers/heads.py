"""What replaces layers of several heads and directions: every head filters every channel, forth and, where it does, back."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ssm2edge.layers.contract import DIRECTIONS
from ssm2edge.layers.replacement import Replacement


class HeadedReplacement(Replacement):
    """A replacement whose blocks are banks of heads times channels, head by head.

    Parameters
    ----------
    original, blocks, shape
        As in :class:`~ssm2edge.layers.replacement.Replacement`; further keywords are ignored, as published forwards do.
    heads
        Outputs of each channel.
    """

    def __init__(self, original: nn.Module, blocks: Mapping[str, nn.Module], shape: tuple[int, ...], heads: int) -> None:
        super().__init__(original, blocks, shape, ignores=True)
        self.heads = heads
        self.time_first = not getattr(original, "transposed", True)

    def filtered(self, u: Tensor) -> Tensor:
        """Return the heads' outputs ``(batch, heads * channels, time)`` from an input in the layer's own layout."""
        if self.time_first:
            u = u.transpose(-1, -2)
        if self.heads > 1:
            u = torch.cat([u] * self.heads, dim=1)
        y: Tensor
        if hasattr(self, "block"):
            y = self.block(u)
        else:
            causal, anticausal = (self.part(name) for name in DIRECTIONS)
            y = causal(u) + anticausal.backwards(u)
        return y
