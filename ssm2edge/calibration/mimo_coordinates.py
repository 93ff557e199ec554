"""Coordinates in which one system of many inputs and outputs can be tuned.

The block's states have unit variance for white input already.  Coefficients of features (states, inputs, squares) move in the
metric of their covariance on the samples, input rows and factors in units of their own size, poles in units of their widths.
The skip of an output moves along the part of its own input that the features do not explain.
"""

from __future__ import annotations

import torch

from ssm2edge.calibration.coordinates import gradient_of
from ssm2edge.calibration.mimo_least_squares import all_features, second_moments
from ssm2edge.calibration.signals import Place
from ssm2edge.layers import ReducedMimo
from ssm2edge.reduction.sections import sections_of
from ssm2edge.systems.gram import scaled, unit_scale

FLOOR = 1e-3
"""Added to the variance of each combination of features, relative to the mean one."""

POLE_UNIT = 0.1
"""Widths that a pole moves in a unit step."""


class MimoCoordinates:
    """Coordinates of a :class:`ReducedMimo`.

    Parameters
    ----------
    block
        Its parameters are changed by :meth:`push`.
    place
        Its layer in the network, and the samples.
    """

    def __init__(self, block: ReducedMimo, place: Place) -> None:
        self._block = block
        gram = second_moments(all_features(block, u) for u in place.inputs())
        coefficients = block.coefficients().detach().double()
        shared = coefficients.shape[1]
        skip = None if block.skip is None else block.skip.detach().double().clone()
        every = coefficients if skip is None else torch.cat((coefficients, torch.diag(skip)), dim=1)
        # A unit step changes an output by its own root mean square.
        answers = (every * (every @ gram)).sum(-1).clamp_min(0).sqrt()
        answers = torch.where(answers > 0, answers, answers.mean().clamp_min(1e-30))
        mixed, crossed, own = gram[:shared, :shared], gram[:shared, shared:], gram.diagonal()[shared:]
        units = unit_scale(mixed, 1e-30)
        sizes, directions = torch.linalg.eigh(scaled(mixed, units))
        self._features = units[:, None] * directions * (sizes + FLOOR).rsqrt()
        self._answers = answers
        self.outputs = len(answers)
        self._skip = skip
        self._explained = self._features @ (self._features.mT @ crossed)
        left = (own - (crossed * self._explained).sum(0)).clamp_min(0)
        self._skip_units = answers[: len(own)] * (left + FLOOR * own).clamp_min(1e-30).rsqrt()
        self._others = [p for p in (block.dynamics, block.input, block.factors) if p is not None]
        self._start = [p.detach().double().clone() for p in self._others]
        self._coefficients = coefficients
        self._units = [POLE_UNIT * sections_of(block.system().poles[None]).scales()[0]]
        self._units += [p.square().mean().sqrt().clamp_min(1e-30).expand_as(p) for p in self._start[1:]]
        free = coefficients.numel() + len(own) + sum(p.numel() for p in self._others)
        self.point = torch.zeros(free, dtype=torch.float64, requires_grad=True)

    def pull(self) -> None:
        """Set ``point.grad`` from the gradients of the block's parameters."""
        by_coefficients = torch.cat([gradient_of(p) for p in self._block.mixed()], dim=-1)
        pulled = [(self._answers[:, None] * by_coefficients @ self._features).flatten()]
        if self._block.skip is not None:
            along = gradient_of(self._block.skip) - (by_coefficients * self._explained.mT).sum(-1)
            pulled.append(self._skip_units * along)
        pulled += [(gradient_of(p) * unit).flatten() for p, unit in zip(self._others, self._units, strict=True)]
        self.point.grad = torch.cat(pulled)

    def push(self) -> None:
        """Write the parameters that ``point`` stands for into the block."""
        with torch.no_grad():
            sizes = [self._coefficients.numel(), len(self._skip_units), *(p.numel() for p in self._others)]
            first, own, *rest = torch.split(self.point, sizes)
            moved = self._answers[:, None] * first.view_as(self._coefficients) @ self._features.mT
            skip = None
            if self._skip is not None:
                moved = moved - (self._skip_units * own * self._explained).mT
                skip = self._skip + self._skip_units * own
            self._block.set_coefficients(self._coefficients + moved, skip)
            for parameter, start, unit, step in zip(self._others, self._start, self._units, rest, strict=True):
                parameter.copy_(start + unit * step.view_as(start))
