"""Blocks whose parameters change less often than they run: what follows from the parameters alone is computed once for all runs.

Runs on several threads differentiate by the same leaves, and the sum of their gradients is carried to the parameters afterwards.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Self

from torch import Tensor, nn


class Held(nn.Module, ABC):
    """Stands in a block's place; every copy of a network has the same one."""

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self

    @abstractmethod
    def refresh(self) -> list[Tensor]:
        """Compute what runs need from the parameters as they are now; return the leaves by which they are differentiated."""

    @abstractmethod
    def carried(self, gradients: Sequence[Tensor | None]) -> list[tuple[nn.Parameter, Tensor]]:
        """Return the gradients by the parameters that gradients by the leaves amount to."""


class HeldBlock(Held):
    """A block that is what it is: its leaves are its parameters."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self._block = block

    def refresh(self) -> list[Tensor]:
        """Return the parameters."""
        return list(self._block.parameters())

    def carried(self, gradients: Sequence[Tensor | None]) -> list[tuple[nn.Parameter, Tensor]]:
        """Return the gradients with their parameters."""
        pairs = zip(self._block.parameters(), gradients, strict=True)
        return [(parameter, gradient) for parameter, gradient in pairs if gradient is not None]

    def forward(self, u: Tensor) -> Tensor:
        y: Tensor = self._block(u)
        return y
