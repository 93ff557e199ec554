"""Synthetic signals, moved until the original recognises something in them.

Random signals of the right shape and size lack what a classifier was trained on: features that change together.  Its weights know
them.  Steps along the gradient of the logits, each sequence towards a class that is drawn by lot, give inputs that excite what
the classes depend on (Yin et al., "Dreaming to distill", 2020, go on until there are pictures).  The movement is smooth, 1 / f
along time, or it would be noise that only this network takes for something.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ssm2edge.calibration.signals import Signals, runs_of_layers
from ssm2edge.calibration.student import SHARD
from ssm2edge.calibration.teacher import Teacher, as_tuple
from ssm2edge.systems.system import System
from ssm2edge.workers import Copies, equal_spans, workers

Array = NDArray[Any]

STEPS, RATE = 30, 0.1
"""Steps of Adam, and their size in deviations of the input."""

AT_ONCE = 64
"""Sequences that are moved together, and keep their size together, at most."""

TRIED, RECOGNISED = 32, 0.5
"""Sequences that are moved first, and the largest mean cross entropy of their classes afterwards at which the others follow:
smooth movements that are recognised as nothing only spoil the signals."""

LEAST = 1e-6
"""Deviation below which an input is not moved."""


def evoked(
    model: nn.Module,
    systems: Mapping[str, System],
    inputs: dict[str, Array],
    axes: Mapping[str, int | None],
    metrics: Sequence[str | None],
    seed: int,
    progress: Callable[[float], None] = lambda share: None,
) -> dict[str, Array]:
    """Return synthetic sequences in which the original recognises classes.

    Mean and deviation over all features and steps stay; what is no signal along time (symbols, masks) stays altogether, and so
    does everything where no output holds logits, a mask or lengths end sequences early, or the original recognises nothing: the
    inputs themselves are returned then.

    Parameters
    ----------
    model, systems
        The original, and its layers' systems.
    inputs
        By name, ``(count, ...)``.
    axes
        Time axis of each input.
    metrics
        Of the outputs; those judged by ``accuracy`` are logits, classes last.
    seed
        Of the classes.
    progress
        Called with the share that is done.
    """
    moving = {name: axis for name, value in inputs.items() if value.dtype.kind == "f" and (axis := axes[name]) is not None}
    ending = any(value.dtype.kind != "f" for value in inputs.values())
    if "accuracy" not in metrics or not moving or ending:
        return inputs
    with workers() as pool:
        teacher = Teacher(model, systems)
        signals = {name: torch.from_numpy(np.ascontiguousarray(value, np.float32)) for name, value in inputs.items()}
        scales = {name: _Scale.of(signals[name], axis) for name, axis in moving.items()}
        count = len(next(iter(signals.values())))
        runs = runs_of_layers(teacher.network, list(systems), Signals([value[:1] for value in signals.values()], 1, 1))
        rows = max(1, min(AT_ONCE, SHARD // max(1, sum(run.numbers for run in runs.values()))))
        with torch.no_grad():
            sizes = [y.shape[-1] for y in _logits(teacher.answer(*(value[:1] for value in signals.values())), metrics)]
        generator = torch.Generator().manual_seed(seed)
        wanted = [torch.randint(size, (count,), generator=generator) for size in sizes]
        found: dict[str, list[Tensor]] = {name: [] for name in signals}
        teachers = Copies(teacher, pool.count)

        def moved(places: Tensor) -> tuple[dict[str, Tensor], float]:
            batch = {name: value[places] for name, value in signals.items()}
            with teachers.one() as one, torch.enable_grad():
                return _moved(one.network, batch, scales, metrics, [classes[places] for classes in wanted])

        # Ensembles lie one after the other: those tried are of all of them.
        tried = torch.linspace(0, count - 1, min(count, TRIED)).round().to(torch.int64)
        first = _parts(tried, rows)
        errors = [len(part) * error for part, (_, error) in zip(first, pool.map(moved, first), strict=True)]
        if not sum(errors) <= RECOGNISED * len(tried):
            return inputs
        parts = _parts(torch.arange(count), rows)
        for place, (batch, _) in enumerate(pool.map(moved, parts), 1):
            for name, value in batch.items():
                found[name].append(value)
            progress(place / len(parts))
    return {name: torch.cat(values).numpy().astype(inputs[name].dtype) for name, values in found.items()}


def _moved(
    network: nn.Module,
    batch: Mapping[str, Tensor],
    scales: Mapping[str, _Scale],
    metrics: Sequence[str | None],
    wanted: Sequence[Tensor],
) -> tuple[dict[str, Tensor], float]:
    """Return a batch in which the wanted classes are recognised, and their mean cross entropy; infinity without a gradient."""
    signals = {name: _Signal(batch[name], scale) for name, scale in scales.items()}
    optimiser = torch.optim.Adam([signal.moves for signal in signals.values()], lr=RATE)
    for step in range(STEPS + 1):
        inputs = {**batch, **{name: signal.value() for name, signal in signals.items()}}
        logits = _logits(as_tuple(network(*inputs.values())), metrics)
        error = torch.stack([cross_entropy(y, classes) for y, classes in zip(logits, wanted, strict=True)]).mean()
        if not error.requires_grad or not torch.isfinite(error):
            return dict(batch), math.inf
        if step == STEPS:
            break
        optimiser.zero_grad()
        error.backward()  # type: ignore[no-untyped-call]  # torch has no types here
        optimiser.step()
    return {name: value.detach() for name, value in inputs.items()}, float(error.detach())


def _parts(places: Tensor, rows: int) -> list[Tensor]:
    """Return places in parts of at most so many."""
    return [places[span] for span in equal_spans(len(places), rows)]


def _logits(answers: Sequence[Tensor], metrics: Sequence[str | None]) -> list[Tensor]:
    """Return the outputs that are logits, ``(batch, classes)``; those of several steps are their mean."""
    judged = [y for y, metric in zip(answers, metrics, strict=True) if metric == "accuracy"]
    return [y.flatten(1, -2).mean(1) if y.dim() > 2 else y for y in judged]


@dataclass(frozen=True, eq=False)
class _Scale:
    """Mean and deviation of each feature of an input, over sequences and steps, and the gains of its movement by frequency."""

    axis: int
    mean: Tensor
    deviation: Tensor
    gains: Tensor

    @classmethod
    def of(cls, value: Tensor, axis: int) -> _Scale:
        frequencies = torch.arange(value.shape[axis] // 2 + 1, dtype=value.dtype).clamp_min(1)
        gains = frequencies.reciprocal()
        gains = (gains / gains.square().mean().sqrt()).view(-1, *(1,) * (value.dim() - axis - 1))
        return cls(axis, value.mean([0, axis], keepdim=True), value.std([0, axis], keepdim=True), gains)


class _Signal:
    """An input of several sequences, ``(sequences, ...)``, and its movement: per feature in units of the feature's deviation."""

    def __init__(self, value: Tensor, scale: _Scale) -> None:
        self._scale = scale
        self._start = (value - scale.mean) / scale.deviation.clamp_min(LEAST)
        self.moves = torch.zeros_like(value, requires_grad=True)

    def value(self) -> Tensor:
        """Return the input as it is moved."""
        axis = self._scale.axis
        spectrum = torch.fft.rfft(self.moves, dim=axis) * self._scale.gains
        moved = self._start + torch.fft.irfft(spectrum, n=self.moves.shape[axis], dim=axis)
        # As loud as it was, around the level it had.
        moved = (moved - moved.mean()) * (self._start.std() / moved.std().clamp_min(LEAST)) + self._start.mean()
        value: Tensor = self._scale.mean + self._scale.deviation * moved
        return value
