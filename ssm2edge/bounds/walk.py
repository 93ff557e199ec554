"""What is known on the way through a network: the state that rules read and add to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor, fx

from ssm2edge.bounds.constants import Constant, Kind
from ssm2edge.bounds.errors import BoundError
from ssm2edge.bounds.layer_gains import LayerGains
from ssm2edge.bounds.observation import Observed
from ssm2edge.bounds.signals import Error, Size, total
from ssm2edge.traced.network import Network

Known = tuple[Size, Error]


@dataclass(eq=False)
class Walk:
    """What is known on the way through a network.

    Attributes
    ----------
    network
        The network.
    layers
        Gains by layer.
    observed
        What was seen on samples, or None where only proven constants may be used.
    capped
        Whether errors are cut at the diameter of what a normalisation can return; without, they are linear in each layer's error.
    known
        By node.
    constants
        What the result rests on.
    caps
        Nodes at which the cut took place.
    arriving, injected
        By layer: the error's norm before it, and of what its own reduction adds.
    """

    network: Network
    layers: Mapping[str, LayerGains]
    observed: Observed | None
    capped: bool
    known: dict[fx.Node, Known] = field(default_factory=dict)
    constants: list[Constant] = field(default_factory=list)
    caps: list[str] = field(default_factory=list)
    arriving: dict[str, float] = field(default_factory=dict)
    injected: dict[str, float] = field(default_factory=dict)

    def argument(self, node: fx.Node, position: int = 0) -> Known:
        """What is known of an argument that is a computed value."""
        argument = node.args[position]
        if not isinstance(argument, fx.Node) or argument not in self.known:
            raise BoundError(f"The output bound has no rule for {node.target} with constants in this place ({node.name}).")
        return self.known[argument]

    def weight(self, node: fx.Node, position: int) -> Tensor | None:
        """A weight among the arguments, float64; None where it was left out."""
        argument = node.args[position] if len(node.args) > position else None
        if argument is None:
            return None
        if not isinstance(argument, fx.Node) or argument not in self.network.weights:
            raise BoundError(f"The output bound has no rule for {node.target} with a computed weight ({node.name}).")
        return self.network.weights[argument].double()

    def note(self, node: fx.Node, what: str, value: float, kind: Kind) -> None:
        """Remember a constant, and its proof or the lack of it."""
        self.constants.append(Constant(node.name, what, value, kind))

    def pass_layer(self, name: str, error: Error, injected: Error) -> None:
        """Remember what arrives at an LTI layer and what its reduction adds; a layer may be called several times."""
        self.arriving[name] = max(self.arriving.get(name, 0.0), total(error))
        self.injected[name] = max(self.injected.get(name, 0.0), total(injected))


Rule = Callable[[fx.Node, Walk], Known]
