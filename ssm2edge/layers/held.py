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
    def give_back(self, gradients: Sequence[Tensor | None]) -> None:
        """Add the gradients by the leaves to those of the parameters."""


class HeldBlock(Held):
    """A block that is what it is: its leaves are its parameters."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self._block = block

    def refresh(self) -> list[Tensor]:
        """Return the parameters."""
        return list(self._block.parameters())

    def give_back(self, gradients: Sequence[Tensor | None]) -> None:
        """Add the gradients to those of the parameters."""
        for parameter, gradient in zip(self._block.parameters(), gradients, strict=True):
            if gradient is not None:
                parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient

    def forward(self, u: Tensor) -> Tensor:
        y: Tensor = self._block(u)
        return y
