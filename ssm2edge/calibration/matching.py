"""Output matching: the reduced blocks are tuned so that the network answers as the original does, on unlabelled samples.

Everything but the blocks' coefficients and what is rounded beside them stays bit for bit, and poles cannot leave the unit disc
(``layers/dynamics.py``).  Adam (Kingma and Ba, 2015) moves the coordinates of ``coordinates.py``; a part of the samples is held
back, and the iterate that is nearest to the original on it is the result, the start being the first of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import nn

from ssm2edge.calibration.coordinates import BlockCoordinates, Coordinates
from ssm2edge.calibration.distances import Metric, distance_of
from ssm2edge.calibration.kinds import KINDS
from ssm2edge.calibration.passes import halted
from ssm2edge.calibration.signals import Runs, Signals, runs_of_layers
from ssm2edge.calibration.student import Student
from ssm2edge.calibration.teacher import Teacher
from ssm2edge.errors import UserError
from ssm2edge.layers import blocks
from ssm2edge.workers import workers

Progress = Callable[[float], None]
"""Called with the share that is done."""

FAINT = 0.01
"""Gradients below this share of their root mean square, in the first step, move a coordinate by less than its share."""

CAREFUL, LEAST = 0.03, 0.001
"""Rate of careful matching, as a share of the outputs' relative error at the start, and its smallest value."""

NEAR, NEARER = 0.02, 0.2
"""Careful matching moves the outputs of no layer by more than about this share of their size, nor by more than this share of the
network's relative error at the start; poles and input rows that outputs share count by their own sizes."""

CHECKS = 6
"""Number of times that the held-back part is measured."""

WORK, FEWEST = 1 << 26, 4
"""Numbers that a step brings into the layers: of long sequences in wide models it takes fewer samples, down to the fewest."""


@dataclass(frozen=True)
class Matching:
    """Settings of output matching.

    Attributes
    ----------
    steps
        Steps of the optimiser: the budget.
    batch
        Samples of a step, at most.
    rate
        Largest step in a coordinate; one is the whole output of a channel.
    held_back
        Share of the samples by which the best iterate is kept.
    seed
        Of the held-back part and the order of the samples.
    careful
        Take steps no larger than the error at the start asks for, and stay near it: on signals that only resemble the inputs of
        the network, what larger or longer moves gain is lost on these.
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

    def samples_of_a_step(self, there: int, runs: Mapping[str, Runs]) -> int:
        """Return how many of the samples that are there a step takes, by what each of them brings into the layers."""
        numbers = max(1, sum(run.numbers for run in runs.values()))
        return min(there, max(min(self.batch, FEWEST), min(self.batch, WORK // numbers)))


@dataclass(frozen=True)
class Matched:
    """Result of matching: the error of the outputs on the held-back part, relative to their size, before and after."""

    before: float
    after: float
    best_step: int


def match(
    teacher: Teacher,
    reduced: nn.Module,
    signals: Signals,
    metric: Metric,
    matching: Matching,
    progress: Progress = lambda share: None,
    beside: Mapping[nn.Parameter, Coordinates] = MappingProxyType({}),
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
        What the outputs are judged by: chooses their distances, see :mod:`ssm2edge.calibration.distances`.
    matching
        Budget, rate, seed.
    progress
        Called after every step.
    beside
        Parameters outside of the blocks that are tuned with them, and their coordinates.

    Returns
    -------
    Matched
        ``after <= before``: the blocks are left at the best iterate.
    """
    reduced.eval().requires_grad_(False)
    tuned = blocks(reduced)
    training, judging = signals.split(matching.held_back, matching.seed)
    runs = runs_of_layers(reduced, list(tuned), signals)
    with workers() as pool, halted(reduced, reduced, runs, training, pool) as passes:
        of_blocks = [KINDS[type(tuned[name])].coordinates(tuned[name], passes.at(name)) for name in runs]
    coordinates: list[Coordinates] = [*of_blocks, *beside.values()]
    for block in tuned.values():
        block.requires_grad_(True)
    for parameter in beside:
        parameter.requires_grad_(True)
    points = [c.point for c in coordinates]
    generator = torch.Generator().manual_seed(matching.seed)
    count = matching.samples_of_a_step(len(training), runs)
    with workers() as pool:
        student = Student(reduced, runs, distance_of(metric), pool, list(beside))
        train, judge = (student.lesson(teacher, part) for part in (training, judging))
        best = before = judge.error()
        size = max(judge.size(), 1e-30)
        relative = math.sqrt(before / size)
        rate = min(matching.rate, max(CAREFUL * relative, LEAST)) if matching.careful else matching.rate
        farthest = min(NEAR, NEARER * relative) if matching.careful else math.inf
        optimiser = torch.optim.Adam(points, lr=rate, betas=(0.9, 0.99))
        warm_up = max(1, min(10, matching.steps // 5))
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda k: min(1.0, (k + 1) / warm_up) * 0.5 * (1 + math.cos(math.pi * k / matching.steps))
        )
        kept, best_step = [point.detach().clone() for point in points], 0
        for step in range(1, matching.steps + 1):
            chosen = torch.randint(0, len(training), (count,), generator=generator)
            reduced.zero_grad()
            if not math.isfinite(train.backward(chosen)):
                break
            for c in coordinates:
                c.pull()
            if step == 1:
                _ignore_faint(optimiser)
            optimiser.step()
            schedule.step()
            for of_block in of_blocks:
                _keep_near(of_block, farthest)
            for c in coordinates:
                c.push()
            if step % max(1, matching.steps // CHECKS) == 0 or step == matching.steps:
                error = judge.error()
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


def _keep_near(coordinates: BlockCoordinates, farthest: float) -> None:
    """Bring a point back along the way to the start, until the root mean square of its outputs' relative changes is in bounds."""
    with torch.no_grad():
        moved = float(coordinates.point.norm()) / math.sqrt(coordinates.outputs)
        if moved > farthest:
            coordinates.point.mul_(farthest / moved)


def _ignore_faint(optimiser: torch.optim.Adam) -> None:
    """Hold coordinates that the loss hardly feels: Adam's steps do not depend on the gradient's size."""
    for group in optimiser.param_groups:
        gradients = [point.grad for point in group["params"] if point.grad is not None]
        squares = torch.cat([g.square().flatten() for g in gradients])
        group["eps"] = FAINT * float(squares.mean().sqrt()) + 1e-30
