"""Better reduced systems from the calibration samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from ssm2edge.cache import Calibrations, Store, key_of
from ssm2edge.calibration import Calibrated, Signals, calibrate, signals_of
from ssm2edge.options import Options
from ssm2edge.reduction import Reduction
from ssm2edge.stages.load import Loaded

Progress = Callable[[str, float], None]
"""Called with the stage's name and the share of it that is done."""


def calibrate_reductions(
    loaded: Loaded,
    options: Options,
    reductions: Mapping[str, Reduction],
    store: Store,
    progress: Progress,
    kind: str | None = None,
) -> Calibrated:
    """Improve the reduced systems on the calibration samples."""
    kind = options.calibrate if kind is None else kind
    reduced = {name: reduction.system for name, reduction in reductions.items()}
    if kind == "none":
        return Calibrated(reduced, None)
    orders = {name: reduction.order for name, reduction in reductions.items()}
    signals = calibration_signals(loaded, orders)
    metric, method = loaded.source.metric, options.method
    matching = options.matching if kind == "match" else None
    key = key_of(loaded.key, loaded.samples_key, list(reduced.items()), kind, matching, method)
    return store.kept(Calibrations(), key, lambda: calibrate(
        loaded.model, loaded.systems, reduced, signals, kind, metric, matching, method,
        lambda what, share: progress(f"calibrate ({what})", share),
    ))  # fmt: skip


def calibration_signals(loaded: Loaded, orders: Mapping[str, int]) -> Signals:
    """The calibration samples, checked."""
    return signals_of(loaded.samples.calibration, loaded.source.time_axis, loaded.length, loaded.systems, orders)


def judged_after_calibration(
    loaded: Loaded, options: Options, reductions: Mapping[str, Reduction], store: Store
) -> dict[str, Reduction]:
    """What a choice of orders is judged by: calibrated on spectra if at all, since matching never makes that worse."""
    kind = "none" if options.calibrate == "none" else "spectrum"
    systems = calibrate_reductions(loaded, options, reductions, store, lambda stage, share: None, kind).systems
    return {name: dataclasses.replace(reduction, system=systems[name]) for name, reduction in reductions.items()}
