"""The original model as what reduced ones are compared with: full-order blocks whose kernels are computed once."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ssm2edge.layers import ReducedBank, blocks, exchange_block, replace_layers
from ssm2edge.layers.convolution import causal_convolution
from ssm2edge.systems.system import System


class KnownKernels(nn.Module):
    """A bank that no longer changes: the kernels of the last length are kept."""

    def __init__(self, bank: ReducedBank) -> None:
        super().__init__()
        self._bank, self._kernels = bank, torch.zeros(0)

    def forward(self, u: Tensor) -> Tensor:
        if self._kernels.shape[-1] != u.shape[-1] or self._kernels.dtype != u.dtype:
            self._kernels = self._bank.kernel(u.shape[-1]).detach().to(u)
        return causal_convolution(u, self._kernels)


class Teacher:
    """The original model, answering without gradients.

    Parameters
    ----------
    model
        The user's model; it stays as it is.
    systems
        Its layers' systems, by name.
    """

    def __init__(self, model: nn.Module, systems: Mapping[str, System]) -> None:
        self.network = replace_layers(model, systems).eval().requires_grad_(False)
        for name, block in blocks(self.network).items():
            if isinstance(block, ReducedBank):
                exchange_block(self.network, name, KnownKernels(block))

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs, as a tuple."""
        with torch.no_grad():
            return as_tuple(self.network(*inputs))


def as_tuple(answer: Tensor | tuple[Tensor, ...] | list[Tensor]) -> tuple[Tensor, ...]:
    """Return what a network answers as a tuple of tensors."""
    return tuple(answer) if isinstance(answer, tuple | list) else (answer,)
