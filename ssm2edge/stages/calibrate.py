"""Better reduced systems from the calibration samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from ssm2edge.cache import Calibrations, Store, key_of
from ssm2edge.calibration import Calibrated, Matching, Signals, calibrate, signals_of
from ssm2edge.options import Options
from ssm2edge.original.task import Task
from ssm2edge.reduction import Reduction
from ssm2edge.stages.progress import Progress, expected, silent


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
    careful = task.samples.synthetic > 0
    matching = Matching(steps=options.calibration_steps, seed=options.seed, careful=careful) if kind == "match" else None
    precision = options.precision if final else "float32"
    rounding: list[object] = [precision] if precision != "float32" else []
    if bits is not None:
        rounding.append(bits)
    key = key_of(task.key, task.samples_key, list(reduced.items()), kind, matching, method, *rounding)
    return store.kept(Calibrations(), key, lambda: calibrate(
        task.model, task.systems, reduced, signals, kind, metric, matching, method,
        lambda what, share: progress(f"calibrate ({what})", share), precision,
        lambda what, seconds: progress(expected(f"calibrate ({what})", seconds), 0.0), bits,
    ))  # fmt: skip


def calibration_signals(task: Task, orders: Mapping[str, int]) -> Signals:
    """The calibration samples, checked."""
    return signals_of(task.samples.calibration, task.samples.axes, task.length, task.systems, orders)


def judged_after_calibration(
    task: Task, options: Options, reductions: Mapping[str, Reduction], store: Store
) -> dict[str, Reduction]:
    """Return the reductions by which orders are judged: calibrated on spectra if at all, for matching never does worse."""
    kind = "none" if options.calibrate == "none" else "spectrum"
    systems = calibrate_reductions(task, options, reductions, store, silent, kind).systems
    return {name: dataclasses.replace(reduction, system=systems[name]) for name, reduction in reductions.items()}
