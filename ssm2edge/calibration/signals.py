"""Unlabelled samples, and the inputs of each layer when a network runs on them: batch by batch, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ssm2edge.errors import UserError
from ssm2edge.layers import Use
from ssm2edge.systems.system import System
from ssm2edge.workers import workers

Batch = tuple[Tensor, ...]
"""Inputs of the network for a few samples."""

STEPS_AT_ONCE = 40_000
"""Time steps of a batch, all its samples together: memory does not grow with the number of samples."""

FEWEST = 5
"""Samples needed to hold some back to judge by."""


class TooFewSamplesError(UserError):
    """There are calibration samples, but too few, or too short, to calibrate on."""


@dataclass(frozen=True, eq=False)
class Signals:
    """Samples served in batches.

    Attributes
    ----------
    inputs
        One tensor per input of the network, samples first.
    at_once
        Samples per batch.
    length
        Time steps of each.
    """

    inputs: Sequence[Tensor]
    at_once: int
    length: int

    def __len__(self) -> int:
        return len(self.inputs[0])

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, len(self), self.at_once):
            yield tuple(x[start : start + self.at_once] for x in self.inputs)

    def __getitem__(self, index: slice | Tensor) -> Signals:
        return Signals([x[index] for x in self.inputs], self.at_once, self.length)

    def split(self, held_back: float, seed: int) -> tuple[Signals, Signals]:
        """Return two random parts, the second with the share ``held_back`` of the samples (at least one in either)."""
        shuffled = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        count = min(max(round(held_back * len(self)), 1), len(self) - 1)
        return self[shuffled[count:]], self[shuffled[:count]]


def signals_of(
    samples: Mapping[str, NDArray[np.generic]],
    axes: Mapping[str, int | None],
    length: int,
    systems: Mapping[str, System],
    orders: Mapping[str, int],
) -> Signals:
    """Check samples and return them in batches.

    Parameters
    ----------
    samples
        By the network's inputs, in their order, ``(samples, ...)``.
    axes
        Time axis of each input; None where it has none.
    length
        Time steps that the model is used on.
    systems, orders
        The layers, and how many states each will keep: their coefficients are what the samples must determine.

    Raises
    ------
    UserError
        If there are none, too few, or some of another length or with NaN.
    """
    if not samples:
        raise UserError(
            "There are no calibration samples; add unlabelled inputs to the samples file as calibration.<input>, or build "
            "without --calibrate."
        )
    for name, value in samples.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise UserError(f"The calibration samples of {name} hold NaN or infinite values; leave those samples out.")
        axis = axes[name]
        steps = length if axis is None else value.shape[axis]
        if steps != length:
            raise UserError(
                f"The calibration samples of {name} have {steps:,} time steps, the held-out ones {length:,}; give calibration "
                "samples of the length that the model is used on."
            )
    if length < 2:
        raise TooFewSamplesError(
            "Samples of one time step cannot calibrate: no response shows in them; give longer ones, or build without."
        )
    count = len(next(iter(samples.values())))
    if count < FEWEST:
        raise TooFewSamplesError(
            f"There are {count} calibration samples; at least {FEWEST} are needed, some of them to judge by."
        )
    for name, system in systems.items():
        needed = steps_needed(system, orders[name])
        if count * length < needed:
            raise TooFewSamplesError(
                f"There are {count * length:,} calibration time steps, fewer than the {needed:,} that the coefficients of layer "
                f"{name} at {orders[name]} states take; give more samples, or keep fewer states."
            )
    at_once = max(1, min(count, STEPS_AT_ONCE // max(length, 1)))
    return Signals([torch.from_numpy(np.ascontiguousarray(x)) for x in samples.values()], at_once, length)


def coefficients(system: System, order: int) -> int:
    """Count the free coefficients of one system of ``order`` states: poles, maps, feedthrough, quadratic outputs."""
    m, p = system.inputs, system.outputs
    quadratic = p * order * (order + 1) // 2 if system.M is not None else 0
    feedthrough = p if system.after_sample else p * m
    return order + (0 if system.is_siso else order * m) + p * order + feedthrough + quadratic


def steps_needed(system: System, order: int) -> int:
    """Return the fewest time steps that can determine one system of ``order`` states; each has one number for every output."""
    return math.ceil(coefficients(system, order) / system.outputs)


class _Passed(Exception):
    """The layer asked for has run; the rest of the network need not."""


@dataclass(frozen=True)
class Runs:
    """The runs of a layer's block in one pass of a network on one sample.

    Attributes
    ----------
    count
        Number of runs.
    uses
        Lengths and precisions of the inputs.
    numbers, bytes
        Numbers, and bytes, that enter in all runs together.
    """

    count: int = 0
    uses: frozenset[Use] = frozenset()
    numbers: int = 0
    bytes: int = 0


def runs_of_layers(model: nn.Module, layers: Sequence[str], signals: Signals) -> dict[str, Runs]:
    """Return the runs of each layer of a replaced model, in the order of their first ones, without layers that never run."""
    runs: dict[str, Runs] = {}
    listeners = []
    for name in layers:

        def note(module: nn.Module, args: tuple[Tensor, ...], name: str = name) -> None:
            known, u, time_last = runs.get(name, Runs()), args[0], getattr(module, "time_last", True)
            use = (u.shape[-1 if time_last else 1], u.dtype)
            runs[name] = Runs(known.count + 1, known.uses | {use}, known.numbers + u.numel(), known.bytes + u.nbytes)

        listeners.append(_block(model, name).register_forward_pre_hook(note))
    try:
        with torch.no_grad():
            model(*next(iter(signals[:1])))
    finally:
        for listener in listeners:
            listener.remove()
    return runs


def entering(model: nn.Module, layer: str, runs: int, batch: Batch) -> list[Tensor]:
    """Return the inputs of a layer's block on one batch, one for each of its runs; the network runs no further than needed."""
    taken: list[Tensor] = []

    def take(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        taken.append(args[0].detach())
        if len(taken) == runs:
            raise _Passed

    listener = _block(model, layer).register_forward_pre_hook(take)
    try:
        with torch.no_grad():
            model(*batch)
    except _Passed:
        pass
    finally:
        listener.remove()
    return taken


def _block(model: nn.Module, layer: str) -> nn.Module:
    return model.get_submodule(f"{layer}.block" if layer else "block")


@dataclass(frozen=True, eq=False)
class Place:
    """The place of a layer in the original network and in the reduced one.

    Attributes
    ----------
    original, reduced
        The networks.
    layer
        Name of the layer.
    runs
        Runs of the layer in one pass.
    signals
        Samples that both networks get.
    held
        Inputs of the layer in the reduced network and in the original one for the samples before these, where they are known.
    """

    original: nn.Module
    reduced: nn.Module
    layer: str
    runs: int
    signals: Signals
    held: tuple[tuple[Tensor, Tensor], ...] = ()

    def inputs(self) -> Iterator[Tensor]:
        """Yield the inputs of the layer in the reduced network, batch by batch and run by run."""
        yield from (u for u, _ in self.held)
        for batch in self.signals:
            yield from entering(self.reduced, self.layer, self.runs, batch)

    def pairs(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the inputs of the layer in the reduced network, each with those in the original one."""
        yield from self.held
        networks = [self.reduced] if self.original is self.reduced else [self.reduced, self.original]
        with workers() as pool:
            for batch in self.signals:
                both = list(pool.map(partial(entering, layer=self.layer, runs=self.runs, batch=batch), networks))
                yield from zip(both[0], both[-1], strict=True)
