"""The S4D layer as published (Gu et al. 2022): a kernel module with log_dt, log_A_real, A_imag and C inside a gated layer.

Indexing: the layer's kernel starts at C B, that is, it emits ``C x[k+1]``; reading moves it to paper form.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ssm2edge.layers.contract import ONLY
from ssm2edge.layers.replacement import Replacement
from ssm2edge.layers.weights import check_finite
from ssm2edge.systems.discretisation import zero_order_hold
from ssm2edge.systems.system import System, from_conjugate_half, reading_after

KERNEL_PARAMETERS = ("log_dt", "log_A_real", "A_imag", "C")
LAYER_PARTS = ("D", "activation", "dropout", "output_linear")


class ReducedS4D(Replacement):
    """An S4D layer whose long convolution is a reduced block; activation, dropout and gated mixing are the original modules."""

    def __init__(self, original: nn.Module, blocks: Mapping[str, nn.Module], shape: tuple[int, ...], transposed: bool) -> None:
        # The published forward takes any keyword and ignores all of them.
        super().__init__(original, blocks, shape, ignores=True)
        self.activation = copy.deepcopy(original.get_submodule("activation"))
        self.dropout = copy.deepcopy(original.get_submodule("dropout"))
        self.output_linear = copy.deepcopy(original.get_submodule("output_linear"))
        self.transposed = transposed

    def compute(self, u: Tensor) -> Tensor:
        """Filter, then the original's own parts."""
        if not self.transposed:
            u = u.transpose(-1, -2)
        y: Tensor = self.output_linear(self.dropout(self.activation(self.block(u))))
        return y if self.transposed else y.transpose(-1, -2)


class S4DLibrary:
    """Recognises S4D layers by structure, so that copies of the published file are found wherever they live."""

    name = "S4D"

    def matches(self, module: nn.Module) -> bool:
        """Return whether the module has the published kernel parameters and the parts around them."""
        kernel = getattr(module, "kernel", None)
        return (
            isinstance(kernel, nn.Module)
            and all(isinstance(getattr(kernel, name, None), Tensor) for name in KERNEL_PARAMETERS)
            and all(hasattr(module, name) for name in LAYER_PARTS)
        )

    def kind(self, module: nn.Module) -> str:
        """Return a bank of independent channels."""
        return "SISO bank"

    def input_shape(self, module: nn.Module, batch: int, length: int) -> tuple[int, ...]:
        """Return channels before time, unless the layer says otherwise."""
        channels = int(getattr(module, "D").shape[-1])  # noqa: B009  (D is registered at run time, unknown to type checkers)
        return (batch, channels, length) if getattr(module, "transposed", True) else (batch, length, channels)

    def read(self, module: nn.Module) -> Mapping[str, System]:
        """Return the system, discretised by zero-order hold in float64.

        Raises
        ------
        LayerError
            If a weight is not finite.
        """
        kernel = module.get_submodule("kernel")
        values = {name: getattr(kernel, name).cpu().double() for name in KERNEL_PARAMETERS}
        skip = getattr(module, "D").cpu().double()  # noqa: B009  (D is registered at run time, unknown to type checkers)
        check_finite((*values.items(), ("D", skip)))
        continuous = torch.complex(-values["log_A_real"].exp(), values["A_imag"])
        poles, gains = zero_order_hold(continuous, values["log_dt"].exp().unsqueeze(-1))
        C = torch.view_as_complex(values["C"].contiguous())
        return {ONLY: reading_after(from_conjugate_half(poles, gains[..., None], C[:, None, :], skip[:, None, None]))}

    def parameters(self, module: nn.Module) -> Mapping[str, Sequence[Tensor]]:
        """Return the kernel's tensors and the skip."""
        kernel = module.get_submodule("kernel")
        skip = getattr(module, "D")  # noqa: B009  (as above)
        return {ONLY: [*(getattr(kernel, name) for name in KERNEL_PARAMETERS), skip]}

    def rebuild(self, module: nn.Module, blocks: Mapping[str, nn.Module]) -> nn.Module:
        """Keep activation, dropout and gated mixing; exchange the convolution and the skip for the block.

        Raises
        ------
        LayerError
            If the layer's forward fails, or returns a form that a reduced layer cannot.
        """
        return ReducedS4D(module, blocks, self.input_shape(module, 1, 2), bool(getattr(module, "transposed", True)))
