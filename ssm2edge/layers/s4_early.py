"""S4 before version 4, all in one layer: ``S4`` and ``S4D`` of state-spaces/s4 and of its copies in safari, H3 and liquid-S4.

    [input_gate] [input_linear] convolution, skip [hyper_activation] activation dropout [norm] output_linear [output_gate]

The convolution is that of ``s4.py``: a bank, head by head, that emits ``C x[k+1]``; the second half of a bidirectional layer's
heads runs backwards from the sample after the current one.  With ``shift`` the layer emits ``C x[k]``.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ssm2edge.layers.calls import longest_of, rate_of, set_length, set_rate, stored_length
from ssm2edge.layers.contract import ONLY, LayerError
from ssm2edge.layers.heads import HeadedReplacement, headed_shape, is_bidirectional, skip_of, systems_of, tensors_of
from ssm2edge.layers.s4_early_kernels import (
    depends_on_length,
    early_stored,
    innermost,
    is_early_kernel,
    read_early,
    shares_poles,
)
from ssm2edge.layers.weights import check_finite
from ssm2edge.systems.system import System

PARTS = (
    "input_linear", "input_gate", "hyper_activation", "activation", "dropout", "drop", "norm", "output_linear", "output_gate"
)  # fmt: skip
"""Modules around the convolution; a layer has some of them."""

LONGEST = ("L", "l_max")


class ReducedEarlyS4(HeadedReplacement):
    """Such a layer whose convolutions are reduced blocks; everything around them is the original's."""

    def __init__(self, original: nn.Module, blocks: Mapping[str, nn.Module], shape: tuple[int, ...]) -> None:
        super().__init__(original, blocks, shape, len(skip_of(original)))
        self.hyper = bool(getattr(original, "hyper", False))
        for name in PARTS:
            part = getattr(original, name, None)
            if isinstance(part, nn.Module):
                self.add_module(name, copy.deepcopy(part))

    def forward(self, u: Tensor | None = None, *args: object, **kwargs: object) -> Any:
        if u is None:
            u = self._calls.named_input(kwargs, self.place)
        given, args, kwargs = self.taken(u, args, kwargs, "lengths")
        lengths = given.get("lengths")
        time_axis = 1 if self.time_first else 2
        if lengths is not None and not (isinstance(lengths, int) and lengths == u.shape[time_axis]):
            kept = torch.arange(u.shape[time_axis], device=u.device) < torch.as_tensor(lengths, device=u.device).reshape(-1, 1)
            u = u * kept.unsqueeze(-1 if self.time_first else 1).to(u.dtype)
        return super().forward(u, *args, **kwargs)

    def through(self, u: Tensor, *names: str) -> Tensor:
        """Pass a signal through those of the original's parts that it has."""
        for name in names:
            if name in self._modules:
                u = self.get_submodule(name)(u)
        return u

    def compute(self, u: Tensor) -> Tensor:
        """Filter every head, between the original's own parts."""
        y = self.filtered(self.through(u, "input_linear"))
        if self.hyper:
            y, gate = y.chunk(2, dim=1)
            y = self.through(gate, "hyper_activation") * y
        y = self.through(y, "activation", "dropout", "drop")
        if self.time_first:
            y = y.transpose(-1, -2)
        y = self.through(y, "norm", "output_linear")
        return self.through(y * self.through(u, "input_gate"), "output_gate") if "input_gate" in self._modules else y


class EarlyS4Library:
    """Recognises such layers by structure, wherever copies of the files live."""

    name = "S4 before version 4"

    def matches(self, module: nn.Module) -> bool:
        """Return whether the module has such a kernel, and a skip of (heads, channels)."""
        skip = getattr(module, "D", None)
        return isinstance(skip, Tensor) and skip.ndim == 2 and is_early_kernel(getattr(module, "kernel", None))

    def kind(self, module: nn.Module) -> str:
        """Return a bank of channels, independent or with shared poles."""
        return "SISO bank with shared poles" if len(skip_of(module)) > 1 or shares_poles(_kernel(module)) else "SISO bank"

    def lengths(self, module: nn.Module) -> range | None:
        """Return up to the longest length; exactly so many if the kernel is normalised over it."""
        longest = _longest(module)
        if longest is None:
            return None
        return range(longest if depends_on_length(_kernel(module)) else 1, longest + 1)

    def fix_length(self, module: nn.Module, length: int) -> None:
        """Set the length of a kernel that is normalised over it and does not store one."""
        if depends_on_length(_kernel(module)) and stored_length(module, *LONGEST) is None:
            set_length(module, length)

    def fix_rate(self, module: nn.Module, rate: float) -> None:
        """Record the rate at which the model calls the layer."""
        set_rate(module, rate)

    def input_shape(self, module: nn.Module, batch: int, length: int) -> tuple[int, ...]:
        """Return channels before time, unless the layer says otherwise."""
        shape = headed_shape(module, batch, length)
        width = getattr(module, "d_model", None) if getattr(module, "bottleneck", None) is not None else None
        if not isinstance(width, int):
            return shape
        return (batch, width, length) if getattr(module, "transposed", True) else (batch, length, width)

    def read(self, module: nn.Module) -> Mapping[str, System]:
        """Return the discrete systems, float64; a bidirectional layer has the parts of ``DIRECTIONS``.

        Raises
        ------
        LayerError
            If a parameter is at fault, or the layer has an unknown option.
        """
        skip = skip_of(module).detach().cpu().double()
        check_finite([("D", skip)])
        kernel = _kernel(module)
        length = _longest(module)
        if length is None and depends_on_length(kernel):
            raise LayerError(
                "its kernel is normalised over the length of the sequence, and the layer does not say which; give it the length "
                "it is used on as l_max."
            )
        heads = read_early(kernel, length, rate_of(module))
        if getattr(module, "shift", False) and not is_bidirectional(module):
            late = heads.bank(slice(len(skip)))
            return {ONLY: late.with_output(late.C, skip.flatten()[:, None, None])}
        return systems_of(module, heads, skip)

    def parameters(self, module: nn.Module) -> Mapping[str, Sequence[Tensor]]:
        """Return the kernel's tensors and the skip; both directions share the kernel's."""
        return tensors_of(module, early_stored(_kernel(module)), skip_of(module))

    def rebuild(self, module: nn.Module, blocks: Mapping[str, nn.Module]) -> nn.Module:
        """Keep all parts around the convolution; exchange that and the skip for the blocks.

        Raises
        ------
        LayerError
            If the layer's forward fails, or returns a form that a reduced layer cannot.
        """
        return ReducedEarlyS4(module, blocks, self.input_shape(module, 1, _longest(module) or 2))


def _kernel(module: nn.Module) -> nn.Module:
    kernel = innermost(module.get_submodule("kernel"))
    assert kernel is not None
    return kernel


def _longest(module: nn.Module) -> int | None:
    return longest_of(module, *LONGEST)
