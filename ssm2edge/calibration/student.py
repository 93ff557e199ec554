"""A reduced network that is compared with the original on samples, and differentiated by its blocks, in shards on some threads.

Shards are cut by the size of the samples alone, and what they give is summed up in their order: the result does not depend on the
number of threads.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor, nn

from ssm2edge.calibration.distances import Distance
from ssm2edge.calibration.signals import Runs, Signals
from ssm2edge.calibration.teacher import Teacher, as_tuple
from ssm2edge.layers import Held, HeldBlock, blocks, exchange_block
from ssm2edge.workers import AT_ONCE, Copies, Workers

SHARD = 1 << 23
"""Numbers that a shard brings into the layers, at most, if it has more than one sample: what bounds the memory of derivatives."""

KEPT = 1 << 28
"""Bytes of the original's answers that are kept; those of more samples are computed again."""


class Student:
    """A reduced network whose blocks are tuned.

    Parameters
    ----------
    network
        As :func:`ssm2edge.layers.replace_layers` returns it; its blocks collect gradients.
    runs
        Of its layers.
    distance
        From the original's answers.
    pool
        Threads that shards run on.
    free
        Parameters outside of its blocks that are tuned too.
    """

    def __init__(
        self,
        network: nn.Module,
        runs: Mapping[str, Runs],
        distance: Distance,
        pool: Workers,
        free: Sequence[nn.Parameter] = (),
    ) -> None:
        self.held: list[Held] = [HeldBlock(nn.ParameterList(free))] if free else []
        with_held = copy.deepcopy(network, {id(parameter): parameter for parameter in network.parameters()})
        for name, run in runs.items():
            self.held.append(blocks(network)[name].held(run.uses))
            exchange_block(with_held, name, self.held[-1])
        self.networks = Copies(with_held, pool.count)
        self.distance, self.pool = distance, pool
        self.rows = max(1, SHARD // max(1, sum(run.numbers for run in runs.values())))

    def lesson(self, teacher: Teacher, signals: Signals) -> Lesson:
        """Return the comparison with the original on some samples."""
        teachers = Copies(teacher, self.pool.count)
        return Lesson(self, teachers, signals, _answers(teachers, signals, self.pool))

    def refresh(self) -> list[list[Tensor]]:
        """Let the copies compute with the parameters as they are now; return the leaves of each block."""
        return list(self.pool.map(lambda held: held.refresh(), self.held))


@dataclass(frozen=True, eq=False)
class Lesson:
    """Samples on which a reduced network and the original are compared.

    Attributes
    ----------
    student
        The reduced network.
    teachers
        Copies of the original.
    signals
        The samples.
    answers
        The original's answers on all of them; None where they are too many to keep.
    """

    student: Student
    teachers: Copies[Teacher]
    signals: Signals
    answers: tuple[Tensor, ...] | None

    def backward(self, chosen: Tensor) -> float:
        """Add the gradients of the error on the chosen samples to those of the blocks; return the error."""
        student, count = self.student, len(chosen)
        leaves = student.refresh()
        flat = [leaf for part in leaves for leaf in part]
        rows = min(student.rows, math.ceil(count / AT_ONCE))

        def shard(places: Tensor) -> tuple[float, tuple[Tensor | None, ...]]:
            with torch.enable_grad():
                error = self._error(places) * (len(places) / count)
                return float(error.detach()), torch.autograd.grad(error, flat, allow_unused=True)

        total = 0.0
        sums: list[Tensor | None] = [None] * len(flat)
        for error, gradients in student.pool.map(shard, torch.split(chosen, rows)):
            total += error
            for place, gradient in enumerate(gradients):
                if gradient is not None:
                    known = sums[place]
                    sums[place] = gradient if known is None else known.add_(gradient)
        ends = list(accumulate(map(len, leaves)))
        parts = [sums[end - len(part) : end] for end, part in zip(ends, leaves, strict=True)]
        for carried in student.pool.map(lambda pair: pair[0].carried(pair[1]), zip(student.held, parts, strict=True)):
            for parameter, gradient in carried:
                parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
        return total

    def error(self) -> float:
        """Return the mean error on all samples; infinity if it is not finite."""
        self.student.refresh()
        return self._mean(self._error)

    def size(self) -> float:
        """Return the mean distance of the original's answers from zero."""

        def distance(places: Tensor) -> Tensor:
            wanted = self._wanted(places)
            return self.student.distance(wanted, tuple(torch.zeros_like(y) for y in wanted))

        return self._mean(distance)

    def _mean(self, value: Callable[[Tensor], Tensor]) -> float:
        def weighted(places: Tensor) -> float:
            with torch.no_grad():
                return float(value(places)) * len(places)

        rows = min(self.signals.at_once, math.ceil(len(self.signals) / AT_ONCE))
        total = sum(self.student.pool.map(weighted, torch.split(torch.arange(len(self.signals)), rows)))
        return total / len(self.signals) if math.isfinite(total) else math.inf

    def _error(self, places: Tensor) -> Tensor:
        wanted = self._wanted(places)
        with self.student.networks.one() as network:
            return self.student.distance(as_tuple(network(*(x[places] for x in self.signals.inputs))), wanted)

    def _wanted(self, places: Tensor) -> tuple[Tensor, ...]:
        if self.answers is not None:
            return tuple(y[places] for y in self.answers)
        with self.teachers.one() as teacher:
            return teacher.answer(*(x[places] for x in self.signals.inputs))


def _answers(teachers: Copies[Teacher], signals: Signals, pool: Workers) -> tuple[Tensor, ...] | None:
    """Return the original's answers on all samples, sample by sample in their order, unless they are too many to keep."""

    def answer(batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        with teachers.one() as teacher:
            return teacher.answer(*batch)

    with torch.no_grad():
        size = sum(y.numel() * y.element_size() for y in answer(tuple(x[:1] for x in signals.inputs)))
    if size * len(signals) > KEPT:
        return None
    rows = min(signals.at_once, math.ceil(len(signals) / AT_ONCE))
    parts = list(pool.map(answer, zip(*(torch.split(x, rows) for x in signals.inputs), strict=True)))
    return tuple(torch.cat(values) for values in zip(*parts, strict=True))
