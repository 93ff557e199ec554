"""Better reduced systems from the calibration samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial

import numpy as np

from ssm2edge.cache import Calibrations, Store, key_of
from ssm2edge.calibration import Calibrated, Matching, Signals, calibrate, signals_of
from ssm2edge.calibration.evoked import evoked
from ssm2edge.options import Options
from ssm2edge.original.task import Task
from ssm2edge.reduction import Reduction
from ssm2edge.stages.progress import Progress, expected, silent

STRONG = 0.1
"""Largest share of the states at which synthetic signals are moved: with more there is room for what inputs never look like."""
PATIENT = 400
"""Steps of `match` at its full rate on synthetic signals: there are as many of these as it takes, so that more steps help."""
MOST_MOVED = 512
"""Sequences that are moved, at most: each takes thirty passes with a gradient."""


def calibrate_reductions(
    task: Task,
    options: Options,
    reductions: Mapping[str, Reduction],
    store: Store,
    progress: Progress,
    kind: str | None = None,
    final: bool = False,
    bits: Mapping[str, int] | None = None,
) -> Calibrated:
    """Improve the reduced systems on the calibration samples; the ``final`` ones with the weights around them as they will be."""
    kind = kind or options.calibrate
    reduced = {name: reduction.system for name, reduction in reductions.items()}
    if kind == "none":
        return Calibrated(reduced, None)
    orders = {name: reduction.order for name, reduction in reductions.items()}
    signals = calibration_signals(task, orders)
    metric, method = task.metrics, options.method
    # Outputs that are compared with true ones are never as far from the original's as logits of what no class is.
    careful = task.samples.synthetic > 0 and not _compared(task)
    matching = Matching(steps=steps_of(task, options), seed=options.seed, careful=careful) if kind == "match" else None
    precision = options.precision if final else "float32"
    rounding: list[object] = [precision] if precision != "float32" else []
    if bits is not None:
        rounding.append(bits)
    key = key_of(task.key, task.samples_key, list(reduced.items()), kind, matching, method, careful, *rounding)
    return store.kept(Calibrations(), key, lambda: calibrate(
        task.model, task.systems, reduced, signals, kind, metric, matching, method,
        lambda what, share: progress(f"calibrate ({what})", share), precision,
        lambda what, seconds: progress(expected(f"calibrate ({what})", seconds), 0.0), bits, careful,
    ))  # fmt: skip


def steps_of(task: Task, options: Options) -> int:
    """Return how many steps `match` takes."""
    return options.calibration_steps or (PATIENT if task.samples.synthetic and _compared(task) else Matching.steps)


def _compared(task: Task) -> bool:
    """Return whether all outputs are compared with true ones."""
    return all(metric == "nrmse" for metric in task.metrics)


def calibration_signals(task: Task, orders: Mapping[str, int]) -> Signals:
    """The calibration samples, checked."""
    return signals_of(task.samples.calibration, task.samples.axes, task.length, task.systems, orders)


def with_evoked(task: Task, options: Options, progress: Progress) -> Task:
    """Return the task with synthetic sequences in which the original recognises classes, if few states are to be kept."""
    samples = task.samples
    if options.calibrate == "none" or not samples.synthetic or _share(task, options) > STRONG:
        return task
    every = -(-samples.synthetic // MOST_MOVED)
    drawn = {name: value[-samples.synthetic :][::every] for name, value in samples.calibration.items()}
    share = partial(progress, "move synthetic signals")
    moved = evoked(task.model, task.systems, drawn, samples.axes, task.metrics, options.seed, share)
    if moved is drawn:
        return task
    joined = {name: np.concatenate([value[: -samples.synthetic], moved[name]]) for name, value in samples.calibration.items()}
    count = len(next(iter(drawn.values())))
    return dataclasses.replace(task, samples=dataclasses.replace(samples, calibration=joined, synthetic=count))


def _share(task: Task, options: Options) -> float:
    """Return the share of the states that is kept; all where it is still to be found."""
    if options.order is None:
        return 1.0 if options.keep is None else options.keep
    widths = {name: system.batch_shape.numel() for name, system in task.systems.items()}
    kept = sum(widths[name] * min(options.order, system.order) for name, system in task.systems.items())
    return kept / sum(widths[name] * system.order for name, system in task.systems.items())


def judged_after_calibration(
    task: Task, options: Options, reductions: Mapping[str, Reduction], store: Store
) -> dict[str, Reduction]:
    """Return the reductions by which orders are judged: calibrated on spectra if at all, for matching never does worse."""
    kind = "none" if options.calibrate == "none" else "spectrum"
    systems = calibrate_reductions(task, options, reductions, store, silent, kind).systems
    return {name: dataclasses.replace(reduction, system=systems[name]) for name, reduction in reductions.items()}
