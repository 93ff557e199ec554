"""The place of one layer in both networks, and the inputs that it gets there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from ssm2edge.calibration.signals import Signals, entering


@dataclass(frozen=True, eq=False)
class Place:
    """The place of a layer in the original network and in the reduced one.

    Attributes
    ----------
    original, reduced
        The networks.
    layer
        Name of the layer.
    runs
        Runs of the layer in one pass.
    signals
        Samples that both networks get.
    """

    original: nn.Module
    reduced: nn.Module
    layer: str
    runs: int
    signals: Signals

    def inputs(self) -> Iterator[Tensor]:
        """Yield the inputs of the layer in the reduced network, batch by batch and run by run."""
        for batch in self.signals:
            yield from entering(self.reduced, self.layer, self.runs, batch)

    def pairs(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the inputs of the layer in the reduced network, each with those in the original one."""
        for batch in self.signals:
            reduced, original = (entering(network, self.layer, self.runs, batch) for network in (self.reduced, self.original))
            yield from zip(reduced, original, strict=True)
