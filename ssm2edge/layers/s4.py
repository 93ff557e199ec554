"""S4 and S4D of the repository state-spaces/s4: the convolution layer ``FFTConv`` inside an ``S4Block``.

The layer is a bank: channel h of head c convolves input h with its own kernel and adds ``D[c, h]`` times it; dropout and an
activation follow inside the same module.  Gate, bottleneck and mixing of an ``S4Block`` are outside of it and stay.

Indexing: the causal kernel starts at ``C dB``, that is, the layer emits ``C x[k+1]``.  The second half of a bidirectional layer's
heads runs backwards in time from the sample after the current one: ``y[k] += sum_(j >= 1) K[j-1] u[k+j]``, which on the
reversed sequence is paper form without feedthrough.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from ssm2edge.layers.calls import longest_of, rate_of, set_length, set_rate, stored_length
from ssm2edge.layers.heads import HeadedReplacement, headed_shape, skip_of, systems_of, tensors_of
from ssm2edge.layers.s4_kernels import is_kernel, read_heads, read_kernel, stored
from ssm2edge.layers.weights import check_finite
from ssm2edge.systems.system import System

PARTS = ("activation", "drop")
LONGEST = ("l_max", "L")


class ReducedS4(HeadedReplacement):
    """An ``FFTConv`` whose convolutions are reduced blocks; dropout and activation are the original modules."""

    def __init__(self, original: nn.Module, blocks: Mapping[str, nn.Module], shape: tuple[int, ...]) -> None:
        super().__init__(original, blocks, shape, len(skip_of(original)))
        for name in PARTS:
            self.add_module(name, copy.deepcopy(original.get_submodule(name)))
        self.heads_last = bool(getattr(original, "swap_channels", False))

    def compute(self, u: Tensor) -> Tensor:
        """Filter every head, then the original's own parts."""
        y = self.filtered(u)
        if self.heads > 1 and self.heads_last:
            y = y.reshape(y.shape[0], self.heads, -1, y.shape[-1]).transpose(1, 2).flatten(1, 2)
        y = self.get_submodule("drop")(y)
        if self.time_first:
            y = y.transpose(-1, -2)
        activated: Tensor = self.get_submodule("activation")(y)
        return activated


class S4Library:
    """Recognises ``FFTConv`` layers with diagonal and low-rank kernels by structure, wherever copies of the file live."""

    name = "S4"

    def matches(self, module: nn.Module) -> bool:
        """Return whether the module has such a kernel, a skip of (heads, channels), and the parts around them."""
        skip = getattr(module, "D", None)
        return (
            isinstance(skip, Tensor)
            and skip.ndim == 2
            and is_kernel(getattr(module, "kernel", None))
            and all(isinstance(getattr(module, name, None), nn.Module) for name in PARTS)
        )

    def kind(self, module: nn.Module) -> str:
        """Return a bank of channels, independent or with shared poles."""
        kernel, heads = module.get_submodule("kernel"), len(skip_of(module))
        shared = heads > 1 or read_kernel(kernel).shares_state_matrix
        return "SISO bank with shared poles" if shared else "SISO bank"

    def lengths(self, module: nn.Module) -> range | None:
        """Return up to ``l_max`` samples; exactly so many if the discretisation depends on it."""
        longest = _longest(module)
        if longest is None:
            return None
        exact = getattr(module.get_submodule("kernel"), "disc", None) == "dss"
        return range(longest if exact else 1, longest + 1)

    def fix_length(self, module: nn.Module, length: int) -> None:
        """Set the length of a kernel whose normalisation depends on it and which does not store one."""
        if getattr(module.get_submodule("kernel"), "disc", None) == "dss" and stored_length(module, *LONGEST) is None:
            set_length(module, length)

    def fix_rate(self, module: nn.Module, rate: float) -> None:
        """Record the rate at which the model calls the layer."""
        set_rate(module, rate)

    def input_shape(self, module: nn.Module, batch: int, length: int) -> tuple[int, ...]:
        """Return channels before time, unless the layer says otherwise."""
        return headed_shape(module, batch, length)

    def read(self, module: nn.Module) -> Mapping[str, System]:
        """Return the discrete systems, float64; a bidirectional layer has the parts of ``DIRECTIONS``.

        Raises
        ------
        LayerError
            If a parameter is at fault, or the layer has an unknown option.
        """
        skip = skip_of(module).cpu().double()
        check_finite([("D", skip)])
        return systems_of(module, read_heads(module.get_submodule("kernel"), _longest(module), rate_of(module)), skip)

    def parameters(self, module: nn.Module) -> Mapping[str, Sequence[Tensor]]:
        """Return the kernel's tensors and the skip; both directions share the kernel's."""
        return tensors_of(module, stored(module.get_submodule("kernel")), skip_of(module))

    def rebuild(self, module: nn.Module, blocks: Mapping[str, nn.Module]) -> nn.Module:
        """Keep dropout and activation; exchange the convolutions and the skip for the blocks.

        Raises
        ------
        LayerError
            If the layer's forward fails, or returns a form that a reduced layer cannot.
        """
        return ReducedS4(module, blocks, self.input_shape(module, 1, 2))


def _longest(module: nn.Module) -> int | None:
    return longest_of(module, *LONGEST)
