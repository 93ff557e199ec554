"""Blocks of a model that is compressed already: layers like any other, to be inspected, compressed again and built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from torch import Tensor, nn

from ssm2edge.layers.contract import ONLY, Block
from ssm2edge.systems.system import System


class BlockLibrary:
    """Recognises the blocks that :func:`ssm2edge.layers.replace_layers` has put into a model."""

    name = "reduced"

    def matches(self, module: nn.Module) -> bool:
        """Return whether the module is a block."""
        return isinstance(module, Block)

    def kind(self, module: nn.Module) -> str:
        """Return the kind of system."""
        return "SISO bank" if _block(module).system().batch_shape else "MIMO"

    def read(self, module: nn.Module) -> Mapping[str, System]:
        """Return the system that the block computes."""
        return {ONLY: _block(module).system()}

    def input_shape(self, module: nn.Module, batch: int, length: int) -> tuple[int, ...]:
        """Return channels before time for a bank, time before inputs for one system."""
        system = _block(module).system()
        return (batch, system.batch_shape.numel(), length) if system.batch_shape else (batch, length, system.inputs)

    def parameters(self, module: nn.Module) -> Mapping[str, Sequence[Tensor]]:
        """Return the block's parameters."""
        return {ONLY: list(module.parameters())}

    def rebuild(self, module: nn.Module, blocks: Mapping[str, nn.Module]) -> nn.Module:
        """Return the new block."""
        return blocks[ONLY]


def _block(module: nn.Module) -> Block:
    return cast(Block, module)
