"""Replacement of a layer that is nothing but a system of many inputs and outputs, in one direction of time or both."""

from __future__ import annotations

from torch import Tensor

from ssm2edge.layers.contract import DIRECTIONS
from ssm2edge.layers.replacement import Replacement


class ReducedMimoLayer(Replacement):
    """Filters ``(batch, time, features)`` or one sequence ``(time, features)``, where the original takes one."""

    def compute(self, u: Tensor) -> Tensor:
        """Filter, both ways in time where the original does."""
        sequences = u if u.ndim == 3 else u.unsqueeze(0)
        if hasattr(self, "block"):
            y: Tensor = self.block(sequences)
        else:
            causal, anticausal = map(self.part, DIRECTIONS)
            y = causal(sequences) + anticausal.backwards(sequences, 1)
        return y if u.ndim == 3 else y.squeeze(0)
