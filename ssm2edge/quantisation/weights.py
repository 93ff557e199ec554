"""The weights of a network that are rounded: matrices of modules of known kinds, outside of its state-space systems."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

FEWEST, NARROWEST = 64, 4
"""Numbers, and numbers in a row, of the smallest weight that is rounded to integers: below it, steps take what integers save."""


def _rows(x: Tensor) -> Tensor:
    return x.reshape(-1, x.shape[-1])


def _of_linear(module: nn.Module, x: Tensor) -> Tensor | None:
    return _rows(x)


def _of_convolution(module: nn.Module, x: Tensor) -> Tensor | None:
    """Return what a pointwise convolution multiplies its weight by; None for others."""
    assert isinstance(module, nn.modules.conv._ConvNd)
    sizes = (*module.kernel_size, *module.stride, module.groups)
    if any(size != 1 for size in sizes) or any(module.padding) or x.ndim != module.weight.ndim:
        return None
    return _rows(x.movedim(1, -1))


def _of_table(module: nn.Module, x: Tensor) -> Tensor | None:
    return None


KINDS: Mapping[type[nn.Module], Callable[[nn.Module, Tensor], Tensor | None]] = {
    nn.Linear: _of_linear,
    nn.modules.conv._ConvNd: _of_convolution,
    nn.Embedding: _of_table,
}
"""Modules whose ``weight`` is rounded row by row; what gives the inputs ``(count, columns)`` that the rows multiply, if known."""


@dataclass(frozen=True, eq=False)
class Weight:
    """One weight.

    Attributes
    ----------
    name
        Path of the parameter in the network.
    module
        Its module.
    """

    name: str
    module: nn.Module

    @property
    def parameter(self) -> nn.Parameter:
        """The parameter."""
        parameter = self.module.weight
        assert isinstance(parameter, nn.Parameter)
        return parameter

    @property
    def bias(self) -> nn.Parameter | None:
        """The bias of the module."""
        bias = getattr(self.module, "bias", None)
        return bias if isinstance(bias, nn.Parameter) else None

    def matrix(self) -> Tensor:
        """Return the weight as ``(rows, columns)`` float64."""
        return self.parameter.detach().double().flatten(1)

    def write(self, matrix: Tensor) -> None:
        """Change the weight, in place."""
        with torch.no_grad():
            self.parameter.copy_(matrix.reshape(self.parameter.shape))

    def inputs(self, x: Tensor) -> Tensor | None:
        """Return the inputs that the rows multiply, from an input of the module; None where that is not known."""
        return next(of(self.module, x) for kind, of in KINDS.items() if isinstance(self.module, kind))


def weights_of(network: nn.Module) -> dict[str, Weight]:
    """Return the weights of a network that are rounded, by name; one that several modules share counts at the first."""
    return {name: weight for name, weight in _matrices(network).items() if not _is_small(weight.parameter)}


def small_weights_of(network: nn.Module) -> dict[str, Weight]:
    """Return the weights of modules of the same kinds that are too small to be rounded to integers, by name."""
    return {name: weight for name, weight in _matrices(network).items() if _is_small(weight.parameter)}


def _is_small(parameter: Tensor) -> bool:
    return parameter.numel() < FEWEST or parameter[0].numel() < NARROWEST


def _matrices(network: nn.Module) -> dict[str, Weight]:
    found: dict[str, Weight] = {}
    seen: set[int] = set()
    for path, module in network.named_modules():
        if not isinstance(module, nn.Module) or not isinstance(module, tuple(KINDS)):
            continue
        parameter = module._parameters.get("weight")
        if parameter is None or id(parameter) in seen:
            continue
        seen.add(id(parameter))
        if parameter.ndim >= 2:
            name = f"{path}.weight" if path else "weight"
            found[name] = Weight(name, module)
    return found
