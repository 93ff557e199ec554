"""Synthetic signals, moved until the original recognises something in them.

Random signals of the right shape and size still lack what a classifier was trained on: the features that change together.  Its
weights know them.  A few steps along the gradient of the logits, each sequence towards a class that is drawn by lot, give inputs
which excite the directions that the classes depend on (Yin et al., "Dreaming to distill", 2020, go on until there are pictures).
The movement is smooth, 1 / f along time, or it would be noise that only this network takes for something.  Builds do not do it
yet: ``scripts/synthetic_signals.py --kinds evoked,half_evoked`` measures what it gains.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ssm2edge.calibration.teacher import Teacher, as_tuple
from ssm2edge.systems.system import System

Array = NDArray[Any]

STEPS, RATE = 10, 0.1
"""Steps of Adam, and their size in deviations of the input."""

AT_ONCE = 64
"""Sequences that are moved together, and keep their mean and deviation together."""

LEAST = 1e-6
"""Deviation below which an input is not moved."""


def evoke(
    model: nn.Module,
    systems: Mapping[str, System],
    inputs: Mapping[str, Array],
    axes: Mapping[str, int | None],
    metrics: Sequence[str | None],
    seed: int,
) -> dict[str, Array]:
    """Return synthetic sequences in which the original recognises classes.

    Mean and deviation over all features and steps stay; what is no signal along time (symbols, masks) stays altogether, and so
    does everything where no output holds logits, or a mask or lengths end sequences early.

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
    """
    moving = [name for name, value in inputs.items() if value.dtype.kind == "f" and axes[name] is not None]
    ending = any(value.dtype.kind != "f" for value in inputs.values())
    if "accuracy" not in metrics or not moving or ending:
        return dict(inputs)
    network = Teacher(model, systems).network
    generator = torch.Generator().manual_seed(seed)
    count = len(next(iter(inputs.values())))
    found: dict[str, list[Array]] = {name: [] for name in inputs}
    for start in range(0, count, AT_ONCE):
        batch = {name: torch.from_numpy(value[start : start + AT_ONCE]) for name, value in inputs.items()}
        moved = _moved(network, batch, {name: axis for name in moving if (axis := axes[name]) is not None}, metrics, generator)
        for name, value in moved.items():
            found[name].append(value.numpy())
    return {name: np.concatenate(values) for name, values in found.items()}


def _moved(
    network: nn.Module,
    batch: Mapping[str, Tensor],
    axes: Mapping[str, int],
    metrics: Sequence[str | None],
    generator: torch.Generator,
) -> dict[str, Tensor]:
    signals = {name: _Signal(batch[name], axis) for name, axis in axes.items()}
    optimiser = torch.optim.Adam([signal.moves for signal in signals.values()], lr=RATE)
    chosen: list[Tensor] | None = None
    with torch.enable_grad():
        for _ in range(STEPS):
            answers = as_tuple(network(*({**batch, **{name: signal.value() for name, signal in signals.items()}}).values()))
            # Logits of several steps are those of their mean.
            judged = [y for y, metric in zip(answers, metrics, strict=True) if metric == "accuracy"]
            logits = [y.flatten(1, -2).mean(1) if y.dim() > 2 else y for y in judged]
            if chosen is None:
                chosen = [torch.randint(y.shape[-1], (len(y),), generator=generator) for y in logits]
            error = torch.stack([cross_entropy(y, wanted) for y, wanted in zip(logits, chosen, strict=True)]).sum()
            optimiser.zero_grad()
            error.backward()  # type: ignore[no-untyped-call]  # torch has no types here
            optimiser.step()
    return {**batch, **{name: signal.value().detach() for name, signal in signals.items()}}


class _Signal:
    """An input of several sequences, ``(sequences, ...)``, and its movement: per feature in units of the feature's deviation."""

    def __init__(self, value: Tensor, axis: int) -> None:
        others = [0, axis]
        self._axis, self._steps = axis, value.shape[axis]
        self._mean = value.mean(others, keepdim=True)
        self._deviation = value.std(others, keepdim=True)
        self._start = (value - self._mean) / self._deviation.clamp_min(LEAST)
        frequencies = torch.arange(self._steps // 2 + 1, dtype=value.dtype).clamp_min(1)
        gains = frequencies.reciprocal()
        self._gains = (gains / gains.square().mean().sqrt()).view(-1, *(1,) * (value.dim() - axis - 1))
        self.moves = torch.zeros_like(value, requires_grad=True)

    def value(self) -> Tensor:
        """Return the input as it is moved."""
        spectrum = torch.fft.rfft(self.moves, dim=self._axis) * self._gains
        moved = self._start + torch.fft.irfft(spectrum, n=self._steps, dim=self._axis)
        moved = (moved - moved.mean()) * (self._start.std() / moved.std().clamp_min(LEAST))
        value: Tensor = self._mean + self._deviation * moved
        return value
