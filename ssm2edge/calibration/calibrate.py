"""Calibration of all reduced layers of a network: for the spectrum of their inputs, or until the outputs match."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

from ssm2edge.calibration.distances import Metric
from ssm2edge.calibration.kinds import KINDS
from ssm2edge.calibration.matching import Matched, Matching, match
from ssm2edge.calibration.passes import halted
from ssm2edge.calibration.signals import Signals, runs_of_layers
from ssm2edge.calibration.teacher import Teacher
from ssm2edge.layers import block_of, blocks, exchange_block, replace_layers
from ssm2edge.systems.system import System
from ssm2edge.workers import workers

CALIBRATIONS = ("none", "spectrum", "match")

Progress = Callable[[str, float], None]
"""Called with the name of the step and the share of it that is done."""


@dataclass(frozen=True, eq=False)
class Calibrated:
    """Calibrated systems by layer, and the record of the matching, if there was any."""

    systems: dict[str, System]
    matched: Matched | None


def calibrate(
    model: nn.Module,
    systems: Mapping[str, System],
    reduced: Mapping[str, System],
    signals: Signals,
    kind: str,
    metric: Metric = None,
    matching: Matching | None = None,
    method: str = "gradient",
    progress: Progress = lambda what, share: None,
) -> Calibrated:
    """Improve reduced systems on unlabelled samples.

    Parameters
    ----------
    model
        The user's model; it stays as it is.
    systems, reduced
        Original and reduced systems by layer.
    signals
        Samples, as :func:`signals_of` checks them.
    kind
        One of ``CALIBRATIONS``.
    metric
        Metric of the model, or of each output: ``accuracy`` (they are logits), ``nrmse``, or None.
    matching
        Budget, rate and seed of ``match``.
    method
        Reduction method for systems of many inputs, which are reduced again for the covariance of their inputs.
    progress
        Called as it goes.

    Raises
    ------
    ValueError
        If there is no calibration of that kind.
    """
    if kind not in CALIBRATIONS:
        raise ValueError(f"there is no calibration {kind!r}; choose one of {', '.join(CALIBRATIONS)}.")
    if kind == "none" or all(reduced[name].order == system.order for name, system in systems.items()):
        return Calibrated(dict(reduced), None)
    teacher = Teacher(model, systems)
    better = calibrate_spectrum(teacher, model, systems, reduced, signals, method, progress)
    if kind == "spectrum":
        return Calibrated(better, None)
    network = replace_layers(model, better)
    matched = match(teacher, network, signals, metric, matching or Matching(), lambda share: progress("match", share))
    return Calibrated({name: block.system() for name, block in blocks(network).items()}, matched)


def calibrate_spectrum(
    teacher: Teacher,
    model: nn.Module,
    systems: Mapping[str, System],
    reduced: Mapping[str, System],
    signals: Signals,
    method: str = "gradient",
    progress: Progress = lambda what, share: None,
) -> dict[str, System]:
    """Reduce every layer for the inputs it gets, from the first to the last; each with those before it reduced already."""
    network = replace_layers(model, systems).eval().requires_grad_(False)
    runs = runs_of_layers(network, list(systems), signals)
    better = dict(reduced)
    with workers() as pool, halted(teacher.network, network, runs, signals, pool) as passes:
        for done, name in enumerate(runs):
            progress("spectrum", done / len(runs))
            system = systems[name]
            if reduced[name].order == system.order:
                continue
            kind = KINDS[type(blocks(network)[name])]
            better[name] = kind.spectrum(passes.at(name), system, reduced[name], method)
            block = block_of(better[name])
            exchange_block(network, name, block)
            passes.put(name, block)
    return better
