"""The bounds on the error of a network's outputs, certified and estimated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ssm2edge.bounds.errors import BoundError
from ssm2edge.bounds.layer_gains import NetworkGains
from ssm2edge.bounds.network import Bound, network_bound
from ssm2edge.bounds.observation import observe
from ssm2edge.systems.system import System
from ssm2edge.traced.network import Network


@dataclass(frozen=True, eq=False)
class OutputBounds:
    """The bounds on the error of a network's outputs.

    Attributes
    ----------
    certified
        The certified bound, or why there is none: nothing bounds the inputs of a layer for all inputs of the network.
    estimated
        The estimated one.
    outputs
        Root mean square of the outputs that they may be compared with.
    """

    certified: Bound | BoundError
    estimated: Bound
    outputs: float

    @property
    def sharpest(self) -> float:
        """The smaller of the two."""
        return min(bound.value for bound in (self.certified, self.estimated) if isinstance(bound, Bound))


def output_bounds(
    network: Network, gains: NetworkGains, systems: Mapping[str, System], reduced: Mapping[str, System], inputs: list[Tensor]
) -> OutputBounds:
    """Bound the error of a network's outputs, from proven constants alone and with constants observed on samples.

    Raises
    ------
    BoundError
        If the network has an operation that no rule covers.
    """
    certified: Bound | BoundError
    try:
        certified = network_bound(network, gains, reduced)
    except BoundError as reason:
        certified = reason
    observed = observe(network, [systems, reduced], [inputs])
    return OutputBounds(certified, network_bound(network, gains, reduced, observed), observed.outputs)


def bound_record(
    network: Network, systems: Mapping[str, System], reduced: Mapping[str, System], inputs: list[Tensor], horizon: int | None
) -> dict[str, Any]:
    """Return the output bounds for the manifest, or the reason if there is no rule for the network."""
    try:
        bounds = output_bounds(network, NetworkGains(systems, horizon), systems, reduced, inputs)
    except BoundError as reason:
        return {"available": False, "reason": str(reason)}
    certified = bounds.certified
    return {
        "available": True,
        "unit": "Euclidean norm of the output error, root mean square over time for outputs along time, in exact arithmetic",
        "outputs": bounds.outputs,
        "certified": certified.to_json() if isinstance(certified, Bound) else {"available": False, "reason": str(certified)},
        "estimated": bounds.estimated.to_json(),
    }
