"""Judges of reductions of a whole network: the error of its outputs, its bound, or the drop of the metric."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ssm2edge.bounds import BoundError, NetworkGains, output_bounds
from ssm2edge.errors import UserError
from ssm2edge.original.recording import first_samples, record_outputs
from ssm2edge.original.task import Task
from ssm2edge.reduction import Reduction
from ssm2edge.reduction.layerwise import reduce_layers
from ssm2edge.systems.division import TINY
from ssm2edge.systems.system import System
from ssm2edge.verification.nrmse import size_of
from ssm2edge.verification.paired import Evidence, fewest_samples, lost_answers, relative_error, risen_error

Answers = Mapping[str, NDArray[Any]]
Reduce = Callable[[Mapping[str, System], Mapping[str, int], str, int | None], dict[str, Reduction]]

ERROR_STEPS = 1 << 17
"""Time steps of the samples on which the output error is measured."""
BOUND_STEPS = 1 << 16
"""Time steps of the samples on which the constants of the output bound are observed."""


def as_reduced(reductions: Mapping[str, Reduction]) -> dict[str, System]:
    """Return the systems of reductions."""
    return {name: reduction.system for name, reduction in reductions.items()}


@dataclass(frozen=True, eq=False)
class Judged:
    """A task with all that judging orders needs.

    Attributes
    ----------
    task
        The model, its samples and layers.
    original
        The original's answers on the validation samples.
    method
        Reduction method.
    reduce
        Systems, orders, method and horizon to reductions.
    calibrate
        Quick calibration of a whole network's reductions, by which proposals are compared.
    finish
        The model as the build makes it, calibrated and rounded, by which sizes are judged; else reductions in layers' places.
    cost
        Bytes or microseconds of the graphs of reductions; None where nothing limits them.
    """

    task: Task
    original: Answers
    method: str
    reduce: Reduce = reduce_layers
    calibrate: Callable[[Mapping[str, Reduction]], dict[str, Reduction]] = dict
    finish: Callable[[Mapping[str, Reduction]], nn.Module] | None = None
    cost: Callable[[Mapping[str, Reduction]], float] | None = None

    def batch(self, steps: int) -> list[Tensor]:
        """Return calibration samples of so many time steps together, or others that judge no artifact if there are none."""
        task, samples = self.task, self.task.samples
        return first_samples(samples.calibration or samples.validation or task.held_out, task.time_axis, steps)

    def answers(self, reductions: Mapping[str, Reduction]) -> Answers:
        """Return what the model answers on the validation samples with these reductions, finished as the build does."""
        task = self.task
        model = task.replaced(as_reduced(reductions)) if self.finish is None else self.finish(reductions)
        return record_outputs(model, task.samples.validation, task.time_axis)


def bound_holds(judged: Judged, limit: float) -> Callable[[Mapping[str, Reduction]], bool]:
    """Return the test whether the bound of the outputs' relative error stays below a limit.

    Raises
    ------
    UserError
        If the network has no bound.
    """
    inputs, task = judged.batch(BOUND_STEPS), judged.task
    try:
        gains = NetworkGains(task.systems, task.horizon)
        # A network without a bound is refused before anything is reduced.
        output_bounds(task.network, gains, task.systems, task.systems, [x[:1] for x in inputs])
    except BoundError as reason:
        raise UserError(f"{reason} Ask for --max-error-of measured.") from reason

    def bounded(reductions: Mapping[str, Reduction]) -> bool:
        bounds = output_bounds(task.network, gains, task.systems, as_reduced(reductions), inputs)
        return bounds.sharpest <= limit * bounds.outputs

    return bounded


def measured_error(judged: Judged, reductions: Mapping[str, Reduction]) -> float:
    """Return the relative error of the outputs on calibration samples, root mean square."""
    inputs, task = judged.batch(ERROR_STEPS), judged.task
    with torch.no_grad():
        expected, actual = (task.network.run(s, inputs) for s in (task.systems, as_reduced(reductions)))
    error = sum(float((a - b).double().square().sum()) for a, b in zip(actual, expected, strict=True))
    return math.sqrt(error / max(sum(float(value.double().square().sum()) for value in expected), TINY))


def drop_shown(labels: Answers, original: Answers, answers: Answers, confidence: float) -> Evidence:
    """Return what answers show of the drop of the metric against the original's, for the output that speaks worst.

    Every output is to hold, and each at its own confidence: then all do.
    """
    found = [
        risen_error(original[name], answers[name], truth, size_of(truth), confidence)
        if truth.dtype.kind == "f"
        else lost_answers(original[name].argmax(-1) == truth, answers[name].argmax(-1) == truth, confidence)
        for name, truth in labels.items()
    ]
    return max(found, key=lambda evidence: evidence.bound)


def error_shown(original: Answers, answers: Answers, confidence: float) -> Evidence:
    """Return what answers show of their error relative to the original's, all outputs together, in hundredths."""
    count = len(next(iter(original.values())))
    before, after = (
        np.concatenate([found[name].reshape(count, -1) for name in original], axis=1) for found in (original, answers)
    )
    return relative_error(before, after, confidence)


def check_judgeable(labels: Answers, original: Answers, points: float, confidence: float, instead: str = "--max-error") -> None:
    """Refuse labels that judge no answer of the original, and samples too few to show that it loses nothing against itself.

    Parameters
    ----------
    labels, original
        Of the samples that choose.
    points, confidence
        Largest drop, and the confidence with which it is shown.
    instead
        Limits that need no labels, as sentences name them.

    Raises
    ------
    UserError
        If there are no labels, they do not fit the model's outputs, or they are too few; the sentence says how many would do.
    """
    if not labels:
        raise UserError(f"A largest drop needs labels of the held-out samples; add them, or ask for {instead}.")
    for name, truth in labels.items():
        if truth.dtype.kind == "f" and truth.shape == original[name].shape:
            continue
        if original[name].shape[:-1] != truth.shape:
            raise UserError(
                "A largest drop needs a model that scores the classes of its labels, or true outputs as labels; ask for "
                f"{instead}."
            )
        needed, count = fewest_samples(points, confidence), len(truth)
        if needed is None:
            raise UserError(
                f"A drop of at most {points:g} points is shown by no number of samples; ask for more, or for --keep 1."
            )
        if needed > count:
            raise UserError(
                f"A drop of at most {points:g} points cannot be shown on {count} samples, not even of a model that loses none; "
                f"give at least {needed:,} validation samples, or {2 * needed:,} held-out ones, of which half choose, or ask for "
                "a larger drop or a lower --confidence."
            )
