"""Output matching: the reduced blocks are tuned so that the network answers as the original does, on unlabelled samples.

Everything but the blocks' coefficients stays bit for bit, and poles cannot leave the unit disc (``layers/dynamics.py``).  Adam
(Kingma and Ba, 2015) moves the coordinates of ``coordinates.py``; a part of the samples is held back, and the iterate that is
nearest to the original on it is the result, the start being the first of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ssm2edge.calibration.kinds import KINDS
from ssm2edge.calibration.signals import Batch, Place, Signals, runs_of_layers
from ssm2edge.calibration.teacher import Teacher, as_tuple
from ssm2edge.errors import UserError
from ssm2edge.layers import blocks

Progress = Callable[[float], None]
"""Called with the share that is done."""

FAINT = 0.01
"""Gradients below this share of their root mean square, in the first step, move a coordinate by less than its share."""

CAREFUL, LEAST = 0.03, 0.001
"""Rate of careful matching, as a share of the outputs' relative error at the start, and its smallest value."""

CHECKS = 6
"""Number of times that the held-back part is measured."""


@dataclass(frozen=True)
class Matching:
    """Settings of output matching.

    Attributes
    ----------
    steps
        Steps of the optimiser: the budget.
    batch
        Samples of a step.
    rate
        Largest step in a coordinate; one is the whole output of a channel.
    held_back
        Share of the samples by which the best iterate is kept.
    seed
        Of the held-back part and the order of the samples.
    careful
        Take steps no larger than the error at the start asks for: on signals that only resemble the inputs of the network, what
        larger steps gain is lost on these.
    """

    steps: int = 150
    batch: int = 32
    rate: float = 0.01
    held_back: float = 0.2
    seed: int = 0
    careful: bool = False

    def __post_init__(self) -> None:
        for name in ("steps", "batch"):
            if getattr(self, name) < 1:
                raise UserError(f"Matching needs at least one of its {name}, not {getattr(self, name)}.")
        if not 0 < self.rate < math.inf:
            raise UserError(f"The rate of matching must be a positive number, not {self.rate}.")
        if not 0 < self.held_back < 1:
            raise UserError(f"The share held back must lie between 0 and 1, not {self.held_back}.")


@dataclass(frozen=True)
class Matched:
    """Result of matching: the error of the outputs on the held-back part, relative to their size, before and after."""

    before: float
    after: float
    best_step: int


Metric = str | None | tuple[str | None, ...]
"""Metric of a model, or of each of its outputs."""

Distance = Callable[[tuple[Tensor, ...], tuple[Tensor, ...]], Tensor]
"""Mean over a batch, from the outputs of the reduced network and of the original."""


def squared_distance(difference: Tensor) -> Tensor:
    """Return the mean square of the difference of an output, over all time steps."""
    return difference.square().mean()


def logit_distance(difference: Tensor) -> Tensor:
    """Return the mean square of the difference of logits, without their common part: a softmax does not see it."""
    return (difference - difference.mean(-1, keepdim=True)).square().mean()


DISTANCES: Mapping[str | None, Callable[[Tensor], Tensor]] = {
    None: squared_distance, "nrmse": squared_distance, "accuracy": logit_distance,
}  # fmt: skip
"""By the metric of an output."""


def distance_of(metric: Metric) -> Distance:
    """Return the sum over the outputs of their distances; one metric holds for all of them."""

    def distance(answers: tuple[Tensor, ...], wanted: tuple[Tensor, ...]) -> Tensor:
        metrics = metric if isinstance(metric, tuple) else (metric,) * len(answers)
        parts = zip(metrics, answers, wanted, strict=True)
        return torch.stack([DISTANCES[of]((y - t).float()) for of, y, t in parts]).sum()

    return distance


def match(
    teacher: Teacher,
    reduced: nn.Module,
    signals: Signals,
    metric: Metric,
    matching: Matching,
    progress: Progress = lambda share: None,
) -> Matched:
    """Tune the blocks of a reduced network, in place.

    Parameters
    ----------
    teacher
        The original.
    reduced
        As :func:`ssm2edge.layers.replace_layers` returns it.
    signals
        Unlabelled samples.
    metric
        What the outputs are judged by: chooses their distances, see ``DISTANCES``.
    matching
        Budget, rate, seed.
    progress
        Called after every step.

    Returns
    -------
    Matched
        ``after <= before``: the blocks are left at the best iterate.
    """
    distance = distance_of(metric)
    reduced.eval().requires_grad_(False)
    tuned = blocks(reduced)
    training, judging = signals.split(matching.held_back, matching.seed)
    runs = runs_of_layers(reduced, list(tuned), signals)
    places = {name: Place(teacher.network, reduced, name, runs[name], training) for name in tuned if name in runs}
    coordinates = [KINDS[type(tuned[name])].coordinates(tuned[name], place) for name, place in places.items()]
    for block in tuned.values():
        block.requires_grad_(True)
    points = [c.point for c in coordinates]

    def error_of(batch: Batch) -> Tensor:
        return distance(as_tuple(reduced(*batch)), teacher(*batch))

    def size_of(batch: Batch) -> Tensor:
        answers = teacher(*batch)
        return distance(answers, tuple(torch.zeros_like(y) for y in answers))

    best = before = _mean(judging, error_of)
    size = max(_mean(judging, size_of), 1e-30)
    rate = min(matching.rate, max(CAREFUL * math.sqrt(before / size), LEAST)) if matching.careful else matching.rate
    optimiser = torch.optim.Adam(points, lr=rate, betas=(0.9, 0.99))
    warm_up = max(1, min(10, matching.steps // 5))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda k: min(1.0, (k + 1) / warm_up) * 0.5 * (1 + math.cos(math.pi * k / matching.steps))
    )
    kept, best_step = [point.detach().clone() for point in points], 0
    generator = torch.Generator().manual_seed(matching.seed)
    for step in range(1, matching.steps + 1):
        chosen = torch.randint(0, len(training), (min(matching.batch, len(training)),), generator=generator)
        reduced.zero_grad()
        loss = error_of(tuple(x[chosen] for x in training.inputs))
        if not torch.isfinite(loss):
            break
        torch.autograd.backward(loss)
        for c in coordinates:
            c.pull()
        if step == 1:
            _ignore_faint(optimiser)
        optimiser.step()
        schedule.step()
        for c in coordinates:
            c.push()
        if step % max(1, matching.steps // CHECKS) == 0 or step == matching.steps:
            error = _mean(judging, error_of)
            if error < best:
                best, best_step, kept = error, step, [point.detach().clone() for point in points]
        progress(step / matching.steps)
    with torch.no_grad():
        for point, value in zip(points, kept, strict=True):
            point.copy_(value)
    for c in coordinates:
        c.push()
    reduced.zero_grad(set_to_none=True)
    return Matched(math.sqrt(before / size), math.sqrt(best / size), best_step)


def _ignore_faint(optimiser: torch.optim.Adam) -> None:
    """Hold coordinates that the loss hardly feels: Adam's steps do not depend on the gradient's size."""
    for group in optimiser.param_groups:
        gradients = [point.grad for point in group["params"] if point.grad is not None]
        squares = torch.cat([g.square().flatten() for g in gradients])
        group["eps"] = FAINT * float(squares.mean().sqrt()) + 1e-30


def _mean(signals: Signals, value: Callable[[Batch], Tensor]) -> float:
    """Return the mean over the samples of a value that is a mean over each batch."""
    with torch.no_grad():
        total = sum(float(value(batch)) * len(batch[0]) for batch in signals)
    return total / len(signals) if math.isfinite(total) else math.inf
