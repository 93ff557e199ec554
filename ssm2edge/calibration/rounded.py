"""The weights around the reduced layers, rounded for the inputs that they get on samples, and open to output matching."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from ssm2edge.calibration.bits_by_outputs import bits_by_outputs
from ssm2edge.calibration.coordinates import Coordinates
from ssm2edge.calibration.distances import Metric
from ssm2edge.calibration.rounded_coordinates import ParameterCoordinates, RoundedCoordinates
from ssm2edge.calibration.signals import Signals
from ssm2edge.calibration.teacher import Teacher
from ssm2edge.layers import blocks
from ssm2edge.quantisation import bits_of, inputs_of, round_weights, small_parameters, weights_of


@dataclass(frozen=True, eq=False)
class Beside:
    """Parameters beside the blocks of a network that are rounded, or tuned with those that are.

    Attributes
    ----------
    parameters
        By name.
    coordinates
        By parameter.
    bits
        Of the rounded ones, by name.
    reasons
        By name; empty where the bits were asked for.
    """

    parameters: Mapping[str, nn.Parameter]
    coordinates: Mapping[nn.Parameter, Coordinates]
    bits: dict[str, int]
    reasons: dict[str, str]

    def values(self) -> dict[str, Tensor]:
        """Return the parameters as they are now."""
        return {name: parameter.detach().clone() for name, parameter in self.parameters.items()}


def rounded_beside(
    network: nn.Module,
    precision: str,
    signals: Signals,
    teacher: Teacher,
    metric: Metric,
    chosen: Mapping[str, int] | None = None,
) -> Beside:
    """Round the weights of a network with reduced blocks, in place; nothing of it in float32.

    Bits that are chosen are taken; where none are, no weight is rounded, and nothing is tuned for what rounding costs.
    """
    if precision == "float32" or chosen == {}:
        return Beside({}, {}, {}, {})
    network.eval()
    weights = weights_of(network)
    inputs = inputs_of(network, weights, signals)
    bits, reasons = bits_of(weights, precision) if chosen is None else dict(chosen), dict[str, str]()
    if precision == "auto" and chosen is None:
        bits, reasons = bits_by_outputs(network, teacher, weights, inputs, signals, metric)
    rounded = round_weights(weights, bits, inputs)
    of_blocks = {id(parameter) for block in blocks(network).values() for parameter in block.parameters()}
    small = small_parameters(network, rounded, of_blocks)
    parameters = {name: one.weight.parameter for name, one in rounded.items()} | small
    coordinates: dict[nn.Parameter, Coordinates] = {one.weight.parameter: RoundedCoordinates(one) for one in rounded.values()}
    coordinates |= {parameter: ParameterCoordinates(parameter) for parameter in small.values()}
    return Beside(parameters, coordinates, bits, reasons)
