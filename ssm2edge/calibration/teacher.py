"""The original model, with which reduced ones are compared: full-order blocks whose kernels are computed once."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ssm2edge.layers import blocks, exchange_block, replace_layers
from ssm2edge.systems.system import System


class Teacher(nn.Module):
    """The original model, answering without gradients.

    Parameters
    ----------
    model
        The user's model; it stays as it is.
    systems
        Its layers' systems, by name.
    """

    def __init__(self, model: nn.Module, systems: Mapping[str, System]) -> None:
        super().__init__()
        self.network = replace_layers(model, systems).eval().requires_grad_(False)
        for name, block in blocks(self.network).items():
            exchange_block(self.network, name, block.constant())

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return self.answer(*inputs)

    def answer(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs, as a tuple."""
        with torch.no_grad():
            return as_tuple(self.network(*inputs))


def as_tuple(answer: Tensor | tuple[Tensor, ...] | list[Tensor]) -> tuple[Tensor, ...]:
    """Return the answer of a network as a tuple of tensors."""
    return tuple(answer) if isinstance(answer, tuple | list) else (answer,)
