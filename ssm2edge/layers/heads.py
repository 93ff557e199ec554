"""Replacements of layers of several heads and directions: every head filters every channel, forth or both ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ssm2edge.layers.contract import DIRECTIONS, ONLY, LayerError
from ssm2edge.layers.kernel_systems import Heads
from ssm2edge.layers.replacement import Replacement
from ssm2edge.systems.system import System


class HeadedReplacement(Replacement):
    """A replacement whose blocks are banks of heads times channels, head by head.

    Parameters
    ----------
    original, blocks, shape
        As in :class:`~ssm2edge.layers.replacement.Replacement`; further keywords are ignored, as published forwards do.
    heads
        Outputs of each channel.
    """

    def __init__(self, original: nn.Module, blocks: Mapping[str, nn.Module], shape: tuple[int, ...], heads: int) -> None:
        super().__init__(original, blocks, shape, ignores=True)
        self.heads = heads
        self.time_first = not getattr(original, "transposed", True)

    def filtered(self, u: Tensor) -> Tensor:
        """Return the heads' outputs ``(batch, heads * channels, time)`` from an input in the layer's own layout."""
        if self.time_first:
            u = u.transpose(-1, -2)
        if self.heads > 1:
            u = torch.cat([u] * self.heads, dim=1)
        y: Tensor
        if hasattr(self, "block"):
            y = self.block(u)
        else:
            causal, anticausal = (self.part(name) for name in DIRECTIONS)
            y = causal(u) + anticausal.backwards(u)
        return y


def skip_of(module: nn.Module) -> Tensor:
    """Return the skip ``D (heads, channels)`` of a layer."""
    skip = getattr(module, "D")  # noqa: B009  (D is registered at run time, unknown to type checkers)
    assert isinstance(skip, Tensor)
    return skip


def headed_shape(module: nn.Module, batch: int, length: int) -> tuple[int, ...]:
    """Return the shape of an input of a layer: channels before time, unless the layer says otherwise."""
    channels = skip_of(module).shape[1]
    return (batch, channels, length) if getattr(module, "transposed", True) else (batch, length, channels)


def is_bidirectional(module: nn.Module) -> bool:
    """Return whether a layer filters both ways."""
    return bool(getattr(module, "bidirectional", False))


def systems_of(module: nn.Module, heads: Heads, skip: Tensor) -> Mapping[str, System]:
    """Return the systems of a layer from those of its kernel; a bidirectional layer has the parts of ``DIRECTIONS``.

    Parameters
    ----------
    module
        The layer.
    heads
        Of its kernel: those of the forward direction first.
    skip
        ``(heads, channels)`` float64.

    Raises
    ------
    LayerError
        If kernel and skip do not fit each other.
    """
    bidirectional = is_bidirectional(module)
    if heads.system.batch_shape != (len(skip) * (1 + bidirectional), skip.shape[1]):
        count, channels = heads.system.batch_shape
        raise LayerError(
            f"its kernel has {count} heads of {channels} channels, its skip D {len(skip)} of {skip.shape[1]}; register a "
            "library that reads it."
        )
    causal = heads.bank(slice(len(skip)), skip)
    if not bidirectional:
        return {ONLY: causal}
    return dict(zip(DIRECTIONS, (causal, heads.bank(slice(len(skip), None))), strict=True))


def tensors_of(module: nn.Module, kernel: Sequence[Tensor], skip: Tensor) -> Mapping[str, Sequence[Tensor]]:
    """Return the tensors that store each part: both directions share the kernel's, the forward one has the skip."""
    if is_bidirectional(module):
        return {DIRECTIONS[0]: [*kernel, skip], DIRECTIONS[1]: kernel}
    return {ONLY: [*kernel, skip]}
