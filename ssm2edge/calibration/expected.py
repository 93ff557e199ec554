"""Seconds that calibration will take, from one timed pass of the network, one timed fit, and the size of the work.

They are for people: within a factor of three on quiet machines, and the steps of minimisers are not known beforehand.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch

from ssm2edge.calibration.signals import Signals
from ssm2edge.calibration.teacher import Teacher
from ssm2edge.calibration.weighted import WeightedTarget, evaluate_weighted
from ssm2edge.reduction.sections import sections_of
from ssm2edge.systems.system import System
from ssm2edge.workers import one_thread_each

SPECTRUM_PASSES = 3.0
"""Passes over all samples, in one of the network: two networks, and transforms of what enters the layers."""

KERNELS = 2.0
"""Times that the kernels of all layers are computed meanwhile."""

FITS = 60.0
"""Evaluations of the error of a channel while its poles are fitted."""

STEP_PASSES = 1.6
"""Passes that a step of matching takes for each of its samples, derivatives and blocks included: a reduced network is faster."""

OTHER_PASSES = 1.5
"""Passes of all samples for coordinates, the original's answers and the held-back part."""


def pass_seconds(teacher: Teacher, signals: Signals) -> tuple[float, float]:
    """Return the seconds that one sample takes in the network, and those that all its kernels take; one batch is run twice."""
    batch = next(iter(signals))
    first, again = (_seconds(lambda: teacher.answer(*batch)) for _ in range(2))
    return again / len(batch[0]), max(0.0, first - again)


def spectrum_seconds(
    of_pass: float, of_kernels: float, systems: Mapping[str, System], reduced: Mapping[str, System], count: int, length: int
) -> float:
    """Return the seconds of calibration on spectra.

    Parameters
    ----------
    of_pass, of_kernels
        Seconds of a pass of one sample, and of the kernels of all layers.
    systems, reduced
        Originals and reductions by layer.
    count, length
        Samples, and their time steps.
    """
    fits = sum(
        system.batch_shape.numel() * _fit_seconds(reduced[name], length)
        for name, system in systems.items()
        if system.batch_shape and reduced[name].order < system.order and reduced[name].tie is None
    )
    with one_thread_each() as threads:
        return (SPECTRUM_PASSES * count * of_pass + KERNELS * of_kernels + FITS * fits) / threads


def match_seconds(of_pass: float, count: int, steps: int, of_step: int) -> float:
    """Return the seconds of matching in steps of so many samples."""
    with one_thread_each() as threads:
        return of_pass * (STEP_PASSES * steps * of_step + OTHER_PASSES * count) / threads


def _fit_seconds(bank: System, length: int) -> float:
    """Return the seconds of one evaluation of the error of a channel, from some channels of a bank under white noise."""
    few = replace(bank[:8], tie=None)
    flat = torch.ones(len(few.poles), length + 1, dtype=torch.float64)
    moments = WeightedTarget(flat.to(torch.complex128), flat, length - 1).moments()
    return _seconds(lambda: evaluate_weighted(moments, sections_of(few.poles))) / len(few.poles)


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    with torch.no_grad():
        work()
    return time.perf_counter() - start
