"""Liquid S4: its layers add products of their inputs to a linear system."""

from __future__ import annotations

from torch import Tensor, nn

OPTIONS = ("liquid_kernel", "liquid")
"""Attributes that switch the products on, in one version of the code and another."""


class LiquidS4:
    """Recognises S4 layers of the repository liquid-S4 whose liquid kernel is on; without it they are plain ones."""

    name = "liquid S4"

    def matches(self, module: nn.Module) -> bool:
        """Return whether the layer has a kernel, a skip, and one of the options."""
        layer = isinstance(getattr(module, "kernel", None), nn.Module) and isinstance(getattr(module, "D", None), Tensor)
        return layer and any(getattr(module, name, None) for name in OPTIONS)

    def reason(self, module: nn.Module) -> str:
        """Return the reason and the mend."""
        return (
            "it adds products of its inputs to a linear system, so that no linear time-invariant system describes it; train the "
            "model without its liquid kernel to have it reduced."
        )
