"""Coordinates of rounded weights, and of the biases and gains beside them, in which output matching tunes them.

A weight's numbers move freely and the network has their nearest values; the gradient passes the rounding as if it were not there
(straight through; Bengio, Leonard and Courville, 2013).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssm2edge.calibration.coordinates import gradient_of
from ssm2edge.quantisation import Rounded

FAINT = 1e-3
"""Smallest unit of a number, relative to one."""


class RoundedCoordinates:
    """Coordinates of one rounded weight, in steps."""

    def __init__(self, rounded: Rounded) -> None:
        self._rounded = rounded
        self.point = torch.zeros_like(rounded.exact, requires_grad=True)

    def pull(self) -> None:
        """Set ``point.grad`` from the gradient of the weight."""
        parameter = self._rounded.weight.parameter
        self.point.grad = gradient_of(parameter).flatten(1) * self._rounded.steps.each.abs()

    def push(self) -> None:
        """Write the nearest values of the numbers that ``point`` stands for into the weight."""
        steps = self._rounded.steps
        self._rounded.weight.write(steps.nearest(self._rounded.exact + steps.each.abs() * self.point.detach()))


class ParameterCoordinates:
    """Coordinates of a parameter that stays as precise as it is, in units of its size."""

    def __init__(self, parameter: nn.Parameter) -> None:
        self._parameter = parameter
        self._start = parameter.detach().double()
        self._unit = max(float(self._start.square().mean().sqrt()), FAINT) if parameter.numel() else 1.0
        self.point = torch.zeros_like(self._start, requires_grad=True)

    def pull(self) -> None:
        """Set ``point.grad`` from the gradient of the parameter."""
        self.point.grad = gradient_of(self._parameter) * self._unit

    def push(self) -> None:
        """Write the numbers that ``point`` stands for into the parameter."""
        with torch.no_grad():
            values: Tensor = self._start + self._unit * self.point
            self._parameter.copy_(values)
