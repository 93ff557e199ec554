"""What reductions of a whole network are judged by: the error of its outputs, its bound, or the drop of the metric."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ssm2edge.bounds import BoundError, NetworkGains, output_bounds
from ssm2edge.errors import UserError
from ssm2edge.layers import replace_layers
from ssm2edge.orders.request import Request
from ssm2edge.original.recording import first_samples, record_outputs
from ssm2edge.reduction import Reduction
from ssm2edge.reduction.layerwise import reduce_layers
from ssm2edge.systems.division import TINY
from ssm2edge.systems.system import System
from ssm2edge.traced.network import Network
from ssm2edge.verification.nrmse import normalised_error

Array = NDArray[np.generic]

ERROR_STEPS = 1 << 17
"""Time steps of the samples on which the output error is measured."""
AT_ONCE = 128
"""Samples judged at once while the metric is measured: enough to be quick, few enough to stop early."""
BOUND_STEPS = 1 << 16
"""Time steps of the samples on which the constants of the output bound are observed."""


@dataclass(frozen=True, eq=False)
class Judged:
    """What orders are judged on.

    Attributes
    ----------
    model
        The user's model.
    network
        Its traced form.
    systems
        Original systems by layer.
    calibration, held_out
        Inputs by name; time stands on ``time_axis``.
    labels
        Of the held-out samples, or None.
    original
        The original's answers on the held-out samples.
    time_axis
        Position of time.
    method, horizon
        How layers are reduced.
    reduce
        Systems, orders, method and horizon to reductions.
    calibrate
        What is done to the reduced systems of a whole network before they are judged.
    """

    model: nn.Module
    network: Network
    systems: Mapping[str, System]
    calibration: Mapping[str, Array]
    held_out: Mapping[str, Array]
    labels: NDArray[np.generic] | None
    original: Mapping[str, NDArray[np.float32]]
    time_axis: int
    method: str
    horizon: int | None
    reduce: Callable[[Mapping[str, System], Mapping[str, int], str, int | None], dict[str, Reduction]] = reduce_layers
    calibrate: Callable[[Mapping[str, Reduction]], dict[str, Reduction]] = dict

    def batch(self, steps: int) -> list[Tensor]:
        """Calibration samples of so many time steps together, or held-out ones, without their labels, where there are none."""
        return first_samples(self.calibration or self.held_out, self.time_axis, steps)


def judge_of(request: Request, judged: Judged) -> Callable[[Mapping[str, Reduction]], bool]:
    """Return what says whether reductions meet a request for a largest error or drop."""
    if request.max_drop is not None:
        points = request.max_drop
        return lambda reductions: drop_holds(judged, reductions, points)
    limit = request.max_error
    assert limit is not None
    if request.max_error_of == "measured":
        return lambda reductions: measured_error(judged, reductions) <= limit
    inputs = judged.batch(BOUND_STEPS)
    try:
        gains = NetworkGains(judged.systems, judged.horizon)
        # Where the network has no bound, that is known before anything is reduced.
        output_bounds(judged.network, gains, judged.systems, judged.systems, [x[:1] for x in inputs])
    except BoundError as reason:
        raise UserError(f"{reason} Ask for --max-error-of measured.") from reason

    def bounded(reductions: Mapping[str, Reduction]) -> bool:
        bounds = output_bounds(judged.network, gains, judged.systems, _systems(reductions), inputs)
        return bounds.sharpest <= limit * bounds.outputs

    return bounded


def measured_error(judged: Judged, reductions: Mapping[str, Reduction]) -> float:
    """Relative error of the outputs on calibration samples, root mean square."""
    inputs = judged.batch(ERROR_STEPS)
    with torch.no_grad():
        expected, actual = (judged.network.run(s, inputs) for s in (judged.systems, _systems(reductions)))
    error = sum(float((a - b).double().square().sum()) for a, b in zip(actual, expected, strict=True))
    return math.sqrt(error / max(sum(float(value.double().square().sum()) for value in expected), TINY))


def drop_holds(judged: Judged, reductions: Mapping[str, Reduction], points: float) -> bool:
    """Whether the reduced model's accuracy on the held-out samples, or its fit to true outputs, falls by at most so many points.

    Stops as soon as right answers to all that is left could no longer mend the drop.

    Raises
    ------
    UserError
        If there are no labels, or the model neither scores classes nor predicts what they are.
    """
    if judged.labels is None:
        raise UserError("A largest drop needs labels of the held-out samples; add them, or ask for --max-error.")
    name = next(iter(judged.original))
    if judged.labels.dtype.kind == "f" and judged.labels.shape == judged.original[name].shape:
        answers = record_outputs(replace_layers(judged.model, _systems(reductions)), judged.held_out, judged.time_axis)[name]
        rise = normalised_error(answers, judged.labels) - normalised_error(judged.original[name], judged.labels)
        return 100 * rise <= points + 1e-9
    if judged.original[name].shape[:-1] != judged.labels.shape:
        raise UserError(
            "A largest drop needs a model that scores the classes of its labels, or true outputs as labels; ask for --max-error."
        )
    right = judged.original[name].argmax(-1) == judged.labels
    reduced_model = replace_layers(judged.model, _systems(reductions))
    allowed, lost = points / 100 * right.size + 1e-9, 0
    for start in range(0, len(right), AT_ONCE):
        part = {key: value[start : start + AT_ONCE] for key, value in judged.held_out.items()}
        answers = record_outputs(reduced_model, part, judged.time_axis)[name].argmax(-1)
        here = answers == judged.labels[start : start + AT_ONCE]
        lost += int(right[start : start + AT_ONCE].sum()) - int(here.sum())
        gainable = int((~right[start + AT_ONCE :]).sum())
        if lost - gainable > allowed:
            return False
    return bool(lost <= allowed)


def _systems(reductions: Mapping[str, Reduction]) -> dict[str, System]:
    return {name: reduction.system for name, reduction in reductions.items()}
