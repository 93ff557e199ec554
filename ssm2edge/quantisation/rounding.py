"""The weights of a network, rounded in place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ssm2edge.quantisation.compensated import compensated
from ssm2edge.quantisation.covariance import Inputs
from ssm2edge.quantisation.grid import MOST, grid_of
from ssm2edge.quantisation.steps import Steps, steps_of
from ssm2edge.quantisation.weights import Weight

INSIDE = 0.49
"""Farthest that a number lies from its rounded value, in steps, when tuning starts."""


@dataclass(frozen=True, eq=False)
class Rounded:
    """A rounded weight.

    Attributes
    ----------
    weight
        The weight; it holds values of ``steps``.
    steps
        The values that it may have.
    exact
        Numbers ``(rows, columns)`` float64 whose nearest values it has: as near to the original's as such numbers can be.
    """

    weight: Weight
    steps: Steps
    exact: Tensor


def round_weights(weights: Mapping[str, Weight], bits: Mapping[str, int], inputs: Mapping[str, Inputs]) -> dict[str, Rounded]:
    """Round weights in place.

    Parameters
    ----------
    weights
        Of a network.
    bits
        By weight; those without stay as they are.
    inputs
        What the weights multiply, where that is known: rounding errors cancel for these, and biases take up their mean.
    """
    return {name: round_weight(weights[name], count, inputs.get(name)) for name, count in bits.items()}


def round_weight(weight: Weight, bits: int, inputs: Inputs | None) -> Rounded:
    """Round a weight in place; see :func:`round_weights`."""
    matrix, bias = weight.matrix(), weight.bias
    known = known_steps(matrix, bits)
    if known is not None:
        steps, rounded = known, matrix
    elif inputs is None:
        steps = steps_of(matrix, bits)
        rounded = steps.nearest(matrix)
    else:
        covariance = inputs.covariance(centred=bias is not None)
        steps = steps_of(matrix, bits, covariance.diagonal().clamp_min(1e-12 * float(covariance.diagonal().mean()) + 1e-30))
        rounded = compensated(matrix, steps, covariance)
        if bias is not None:
            with torch.no_grad():
                bias.add_((matrix - rounded) @ inputs.mean)
    weight.write(rounded)
    apart = INSIDE * steps.each.abs()
    return Rounded(weight, steps, rounded + (matrix - rounded).clamp(-apart, apart))


def known_steps(matrix: Tensor, bits: int) -> Steps | None:
    """Return the steps of a matrix that was rounded before, to so many bits or fewer: nothing can be better; else None."""
    for count in [count for count in MOST if count <= bits]:
        known = grid_of(matrix.float().numpy(), count)
        if known is not None:
            return Steps(torch.from_numpy(known.steps).double(), count, matrix.shape[1])
    return None


def nearest_of(values: Tensor, bits: int) -> Tensor:
    """Return the nearest numbers of few bits to those of a matrix, row by row; a matrix of such numbers as it is."""
    matrix = values.double().flatten(1)
    if known_steps(matrix, bits) is not None:
        return values
    return steps_of(matrix, bits).nearest(matrix).to(values.dtype).reshape(values.shape)


def small_parameters(network: nn.Module, rounded: Mapping[str, Rounded], others: set[int]) -> dict[str, nn.Parameter]:
    """Return the parameters of a network that are no rounded weights and not among ``others``: biases, gains of norms."""
    taken = {id(one.weight.parameter) for one in rounded.values()} | others
    return {name: p for name, p in network.named_parameters() if id(p) not in taken and p.is_floating_point()}
