"""Material of the rules: the network, its layers at a ladder of orders, and a few unlabelled samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ssm2edge.reduction import reduce_system
from ssm2edge.systems.system import System
from ssm2edge.traced.network import Network

Progress = Callable[[float], None]

DIRECT = "balanced"
"""Method by which costs and proposals are compared: quick enough for every order of the ladder."""

LADDER = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
"""Orders at which costs are computed; between them they are interpolated."""


def ladder(order: int) -> tuple[int, ...]:
    """Return the orders below a layer's own, and its own."""
    return (*(step for step in LADDER if step < order), order)


@dataclass(frozen=True, eq=False)
class Study:
    """A network with what is needed to judge orders.

    Attributes
    ----------
    network
        Traced with its layers as blocks.
    systems
        Original systems by layer.
    steps
        By layer and order of the ladder, reduced systems; the layer's own order gives its own system.
    inputs
        One batch of unlabelled samples.
    horizon
        Taps on which errors count.
    """

    network: Network
    systems: Mapping[str, System]
    steps: Mapping[str, Mapping[int, System]]
    inputs: list[Tensor]
    horizon: int | None

    @property
    def widths(self) -> dict[str, int]:
        """Channels by layer."""
        return {name: system.batch_shape.numel() for name, system in self.systems.items()}

    def outputs(self, exchanged: Mapping[str, System]) -> Tensor:
        """Return the outputs ``(samples, everything)`` float64 with some of the systems exchanged."""
        with torch.no_grad():
            values = self.network.run({**self.systems, **exchanged}, self.inputs)
        return torch.cat([value.double().flatten(1) for value in values], dim=1)


def study(network: Network, systems: Mapping[str, System], inputs: list[Tensor], horizon: int | None) -> Study:
    """Reduce every layer to every order of the ladder; a direct method is enough to see how costs fall."""
    steps = {
        name: {order: reduce_system(system, order, DIRECT, horizon).system for order in ladder(system.order)}
        for name, system in systems.items()
    }
    return Study(network, systems, steps, inputs, horizon)
