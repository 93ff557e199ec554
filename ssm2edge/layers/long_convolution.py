"""Long convolutions: a depthwise ``nn.Conv1d`` as long as its sequences is a bank of channels.

    y[t] = sum_j w[j] x[t + (j - k + 1) d + p]      impulse response of the causal filter: w reversed, d - 1 zeros between its
    taps

Padded by p = k - 1 on both sides, its output is that of the causal filter, with a tail that the model cuts off; without padding
it is the causal filter's from the k-th sample on, because the model has padded on the left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ssm2edge.layers.contract import LayerError

if TYPE_CHECKING:
    from ssm2edge.layers.realised import ReducedRealised

LONG = 64
"""Taps from which on a convolution counts as a state-space layer; shorter ones are quicker as convolutions."""


@dataclass(frozen=True, eq=False)
class ConvolutionRoute:
    """The call of a block in the place of a depthwise convolution.

    Attributes
    ----------
    reach
        Samples that the convolution looks back.
    padding
        Zeros on both sides of its input: 0 or ``reach``.
    outputs_per_input
        Filters of each input channel.
    """

    reach: int
    padding: int
    outputs_per_input: int

    def through(self, reduced: ReducedRealised, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
        """Filter, and return as many samples as the convolution does."""
        u: Tensor = args[0] if args else kwargs["input"]
        if self.outputs_per_input > 1:
            u = u.repeat_interleave(self.outputs_per_input, dim=1)
        if self.padding:
            u = nn.functional.pad(u, (0, self.padding))
        y = reduced.filtered(u, 2)
        return y if self.padding else y[..., self.reach :]


def is_depthwise(module: nn.Module) -> bool:
    """Return whether a module is a plain depthwise ``nn.Conv1d`` that can be seen as a causal filter."""
    if not isinstance(module, nn.Conv1d) or type(module).forward is not nn.Conv1d.forward:
        return False
    whole = isinstance(module.padding, tuple) and module.padding[0] in (0, reach_of(module))
    return module.groups == module.in_channels and module.stride == (1,) and module.padding_mode == "zeros" and whole


def is_long(module: nn.Module) -> bool:
    """Return whether a depthwise convolution is long enough to be taken for a state-space layer unasked."""
    return isinstance(module, nn.Conv1d) and is_depthwise(module) and module.kernel_size[0] >= LONG


def reach_of(module: nn.Conv1d) -> int:
    """Return the samples that a convolution looks back."""
    return (module.kernel_size[0] - 1) * module.dilation[0]


def route_of(module: nn.Conv1d) -> ConvolutionRoute:
    """Return the call of a block in the convolution's place."""
    padding = module.padding[0]
    assert isinstance(padding, int)
    return ConvolutionRoute(reach_of(module), padding, module.out_channels // module.in_channels)


def response_of(path: str, module: nn.Conv1d, length: int) -> Tensor:
    """Return the impulse responses ``(channels, 1, 1, length)`` float64 of the causal filters, zero beyond their taps.

    Parameters
    ----------
    path
        Name for the sentences.
    length
        Samples of its input in the model.

    Raises
    ------
    LayerError
        If a weight is not finite, or the sequences are too short to be filtered.
    """
    weight = module.weight.detach().cpu().double()[:, 0]
    if not bool(torch.isfinite(weight).all()):
        raise LayerError(f"{path} holds NaN or infinite weights; give weights of a finished training.")
    if length < 3:
        raise LayerError(f"{path} gets sequences of {length} samples; a filter is realised from three or more.")
    step = module.dilation[0]
    taps = weight.new_zeros((len(weight), max(length, reach_of(module) + 1)))
    taps[:, : reach_of(module) + 1 : step] = weight.flip(-1)
    return taps[:, None, None, :length]
