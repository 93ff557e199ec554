"""The walk through a network: the bounds that rules read and add to."""

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
    """The bounds on the values of a network, node by node.

    Attributes
    ----------
    network
        The network.
    layers
        Gains by layer.
    observed
        Extremes on samples, or None if only proven constants may be used.
    capped
        True if errors are cut at the diameter of a normalisation's range; they are otherwise linear in each layer's error.
    known
        By node.
    constants
        Constants that the result rests on.
    caps
        Nodes at which the cut took place.
    arriving, injected
        By layer: norms of the error before it and of the error of its own reduction.
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
        """Return the bounds on an argument that is a computed value."""
        argument = node.args[position]
        if not isinstance(argument, fx.Node) or argument not in self.known:
            raise BoundError(f"The output bound has no rule for {node.target} with constants in this place ({node.name}).")
        return self.known[argument]

    def weight(self, node: fx.Node, position: int) -> Tensor | None:
        """Return a weight among the arguments, float64; None if it was left out."""
        argument = node.args[position] if len(node.args) > position else None
        if argument is None:
            return None
        if not isinstance(argument, fx.Node) or argument not in self.network.weights:
            raise BoundError(f"The output bound has no rule for {node.target} with a computed weight ({node.name}).")
        return self.network.weights[argument].double()

    def note(self, node: fx.Node, what: str, value: float, kind: Kind) -> None:
        """Note a constant, and whether it is proven."""
        self.constants.append(Constant(node.name, what, value, kind))

    def pass_layer(self, name: str, error: Error, injected: Error) -> None:
        """Note the errors before an LTI layer and of its reduction; a layer may be called several times."""
        self.arriving[name] = max(self.arriving.get(name, 0.0), total(error))
        self.injected[name] = max(self.injected.get(name, 0.0), total(injected))


Rule = Callable[[fx.Node, Walk], Known]
