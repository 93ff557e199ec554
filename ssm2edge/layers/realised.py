"""Layers whose systems are not read from parameters: realised from an impulse response, or returned by the user's code.

Realisation needs samples and takes time, so :func:`ssm2edge.layers.realise_layers` does it once: it wraps each such module of the
model into a :class:`RealisedLayer`, which computes the same and holds its system.  It is then a layer like any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from ssm2edge.layers.contract import ONLY, Realised
from ssm2edge.layers.observation import Passage
from ssm2edge.layers.replacement import keep_hooks, keep_plain
from ssm2edge.systems.system import System


class Route(Protocol):
    """The call of a block in a layer's place."""

    def through(self, reduced: ReducedRealised, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Answer a call of the layer."""


@dataclass(frozen=True, eq=False)
class PassageRoute:
    """Route of a module that was observed in its model."""

    passage: Passage

    def through(self, reduced: ReducedRealised, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Take the signal out of the call, and answer in the module's form."""
        return self.passage.answer(reduced.filtered(self.passage.signal(args, kwargs), self.passage.time_axis))


class RealisedLayer(nn.Module):
    """A module of the user's model together with its system; computes the same as the module.

    Parameters
    ----------
    original
        The module.
    library
        Kind of layer, for people.
    system
        System of the module, its offset aside.
    offset
        ``(outputs,)``, added to every sample, or None.
    stored
        Parameters or buffers of the module that store the system.
    route
        Call of a block in its place.
    realised
        Record of the realisation; None if the system is exact.
    longest
        Samples of the longest sequences of the model on which the module is this system; None for all.
    """

    def __init__(
        self,
        original: nn.Module,
        library: str,
        system: System,
        offset: Tensor | None,
        stored: Sequence[Tensor],
        route: Route,
        realised: Realised | None,
        longest: int | None = None,
    ) -> None:
        super().__init__()
        self.original = original
        self.library = library
        self.system = system
        self.offset = offset
        self.route = route
        self.realised = realised
        self.longest = longest
        # By name, so that copies of the layer have tensors of their own.
        ids = {id(x) for x in stored}
        named = (*original.named_parameters(), *original.named_buffers())
        self._stored = [name for name, x in named if id(x) in ids]
        self.training = original.training
        keep_hooks(original, self)

    def stored(self) -> list[Tensor]:
        """Return the tensors that the system is stored in."""
        named: dict[str, Tensor] = {**dict(self.original.named_parameters()), **dict(self.original.named_buffers())}
        return [named[name] for name in self._stored]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        # The hooks now belong to this module.
        return self.original.forward(*args, **kwargs)


class ReducedRealised(nn.Module):
    """Stands in a realised layer's place: its block, its offset, and its call."""

    offset: nn.Parameter | None

    def __init__(self, layer: RealisedLayer, block: nn.Module) -> None:
        super().__init__()
        keep_plain(layer.original, self)
        self.block = block
        self.route = layer.route
        # A bank takes (batch, channels, time), one system of many inputs and outputs (batch, time, channels).
        self.block_time_axis = 2 if layer.system.batch_shape else 1
        self.offset = None
        if layer.offset is not None:
            offset = layer.offset.to(next(block.parameters()))
            self.offset = nn.Parameter(offset.unsqueeze(-1) if self.block_time_axis == 2 else offset)

    @property
    def precision(self) -> torch.dtype:
        """Type of the block's numbers."""
        return next(chain(self.block.parameters(), self.block.buffers())).dtype

    def filtered(self, u: Tensor, time_axis: int) -> Tensor:
        """Run the block on a signal with time on axis 1 or 2, and add the offset."""
        dtype = u.dtype
        turned = time_axis != self.block_time_axis
        u = u.transpose(1, 2) if turned else u
        if self.block_time_axis == 1 and dtype != self.precision:
            u = u.to(self.precision)
        y: Tensor = self.block(u)
        if self.offset is not None:
            y = y + self.offset
        y = y.transpose(1, 2) if turned else y
        return y if y.dtype == dtype else y.to(dtype)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.route.through(self, args, kwargs)


class RealisedLibrary:
    """Layers of one kind among those that :func:`ssm2edge.layers.realise_layers` has put into a :class:`RealisedLayer`."""

    def __init__(self, name: str) -> None:
        self.name = name

    def matches(self, module: nn.Module) -> bool:
        """Return whether it is a realised layer of this kind."""
        return isinstance(module, RealisedLayer) and module.library == self.name

    def kind(self, module: nn.Module) -> str:
        """Return the kind of system."""
        return "SISO bank" if _layer(module).system.batch_shape else "MIMO"

    def lengths(self, module: nn.Module) -> range | None:
        """Return up to the samples that it was measured on, if its response goes on otherwise after them."""
        longest = _layer(module).longest
        return None if longest is None else range(1, longest + 1)

    def read(self, module: nn.Module) -> Mapping[str, System]:
        """Return the realised system."""
        return {ONLY: _layer(module).system}

    def input_shape(self, module: nn.Module, batch: int, length: int) -> tuple[int, ...]:
        """Return channels before time: the form in which systems take signals, whatever the module's own."""
        system = _layer(module).system
        return batch, system.batch_shape.numel() * system.inputs, length

    def parameters(self, module: nn.Module) -> Mapping[str, Sequence[Tensor]]:
        """Return the tensors that the system is stored in."""
        return {ONLY: _layer(module).stored()}

    def rebuild(self, module: nn.Module, blocks: Mapping[str, nn.Module]) -> nn.Module:
        """Put a block in the module's place."""
        return ReducedRealised(_layer(module), blocks[ONLY])


def _layer(module: nn.Module) -> RealisedLayer:
    return cast(RealisedLayer, module)
