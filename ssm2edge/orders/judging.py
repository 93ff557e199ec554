"""Judges of reductions of a whole network: the error of its outputs, its bound, or the drop of the metric."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssm2edge.bounds import BoundError, NetworkGains, output_bounds
from ssm2edge.errors import UserError
from ssm2edge.orders.request import Request
from ssm2edge.original.recording import first_samples, record_outputs
from ssm2edge.original.task import Task
from ssm2edge.reduction import Reduction
from ssm2edge.reduction.layerwise import reduce_layers
from ssm2edge.systems.division import TINY
from ssm2edge.systems.system import System
from ssm2edge.verification.nrmse import normalised_error

ERROR_STEPS = 1 << 17
"""Time steps of the samples on which the output error is measured."""
AT_ONCE = 128
"""Samples judged at once while the metric is measured: enough to be quick, few enough to stop early."""
BOUND_STEPS = 1 << 16
"""Time steps of the samples on which the constants of the output bound are observed."""


@dataclass(frozen=True, eq=False)
class Judged:
    """A task with all that judging orders needs.

    Attributes
    ----------
    task
        The model, its samples and layers.
    original
        The original's answers on the held-out samples.
    method
        Reduction method.
    reduce
        Systems, orders, method and horizon to reductions.
    calibrate
        Calibration of a whole network's reductions before they are judged.
    """

    task: Task
    original: Mapping[str, NDArray[np.float32]]
    method: str
    reduce: Callable[[Mapping[str, System], Mapping[str, int], str, int | None], dict[str, Reduction]] = reduce_layers
    calibrate: Callable[[Mapping[str, Reduction]], dict[str, Reduction]] = dict

    def batch(self, steps: int) -> list[Tensor]:
        """Return calibration samples of so many time steps together, or held-out ones if there are none."""
        task = self.task
        return first_samples(task.samples.calibration or task.held_out, task.time_axis, steps)


def judge_of(request: Request, judged: Judged) -> Callable[[Mapping[str, Reduction]], bool]:
    """Return the test whether reductions meet a request for a largest error or drop."""
    if request.max_drop is not None:
        points = request.max_drop
        return lambda reductions: drop_holds(judged, reductions, points)
    limit = request.max_error
    assert limit is not None
    if request.max_error_of == "measured":
        return lambda reductions: measured_error(judged, reductions) <= limit
    inputs, task = judged.batch(BOUND_STEPS), judged.task
    try:
        gains = NetworkGains(task.systems, task.horizon)
        # A network without a bound is refused before anything is reduced.
        output_bounds(task.network, gains, task.systems, task.systems, [x[:1] for x in inputs])
    except BoundError as reason:
        raise UserError(f"{reason} Ask for --max-error-of measured.") from reason

    def bounded(reductions: Mapping[str, Reduction]) -> bool:
        bounds = output_bounds(task.network, gains, task.systems, _systems(reductions), inputs)
        return bounds.sharpest <= limit * bounds.outputs

    return bounded


def measured_error(judged: Judged, reductions: Mapping[str, Reduction]) -> float:
    """Return the relative error of the outputs on calibration samples, root mean square."""
    inputs, task = judged.batch(ERROR_STEPS), judged.task
    with torch.no_grad():
        expected, actual = (task.network.run(s, inputs) for s in (task.systems, _systems(reductions)))
    error = sum(float((a - b).double().square().sum()) for a, b in zip(actual, expected, strict=True))
    return math.sqrt(error / max(sum(float(value.double().square().sum()) for value in expected), TINY))


def drop_holds(judged: Judged, reductions: Mapping[str, Reduction], points: float) -> bool:
    """Return whether accuracy, or fit, on the held-out samples falls by at most so many points, for each output with labels.

    Stop as soon as right answers to all other samples could no longer mend the drop.

    Raises
    ------
    UserError
        If there are no labels, or the model neither scores classes nor predicts what they are.
    """
    task, judging = judged.task, judged.task.samples.labels
    if not judging:
        raise UserError("A largest drop needs labels of the held-out samples; add them, or ask for --max-error.")
    truths, classes = {}, {}
    for name, labels in judging.items():
        original = judged.original[name]
        if labels.dtype.kind == "f" and labels.shape == original.shape:
            truths[name] = labels
        elif original.shape[:-1] == labels.shape:
            classes[name] = original.argmax(-1) == labels
        else:
            raise UserError(
                "A largest drop needs a model that scores the classes of its labels, or true outputs as labels; ask for "
                "--max-error."
            )
    reduced_model = task.replaced(_systems(reductions))
    if truths:
        answers = record_outputs(reduced_model, task.held_out, task.time_axis)
        rises = (
            normalised_error(answers[name], labels) - normalised_error(judged.original[name], labels)
            for name, labels in truths.items()
        )
        return all(100 * rise <= points + 1e-9 for rise in rises) and all(
            int(right.sum()) - int((answers[name].argmax(-1) == judging[name]).sum()) <= points / 100 * right.size + 1e-9
            for name, right in classes.items()
        )
    lost = dict.fromkeys(classes, 0)
    for start in range(0, len(next(iter(judging.values()))), AT_ONCE):
        part = {key: value[start : start + AT_ONCE] for key, value in task.held_out.items()}
        answers = record_outputs(reduced_model, part, task.time_axis)
        for name, right in classes.items():
            here = answers[name].argmax(-1) == judging[name][start : start + AT_ONCE]
            lost[name] += int(right[start : start + AT_ONCE].sum()) - int(here.sum())
            gainable = int((~right[start + AT_ONCE :]).sum())
            if lost[name] - gainable > points / 100 * right.size + 1e-9:
                return False
    return True


def _systems(reductions: Mapping[str, Reduction]) -> dict[str, System]:
    return {name: reduction.system for name, reduction in reductions.items()}
