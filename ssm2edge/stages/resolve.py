"""Options, resolved once after the model is loaded: its size, calibration, horizon, and the form of its layers."""

from __future__ import annotations

import dataclasses

from ssm2edge.calibration.signals import TooFewSamplesError
from ssm2edge.errors import UserError
from ssm2edge.layers import check_stable
from ssm2edge.loading import with_calibration
from ssm2edge.options import Options, bytes_of, check_options
from ssm2edge.orders import Request
from ssm2edge.orders.distribution import uniform_orders
from ssm2edge.original.task import Task
from ssm2edge.reduction import METHODS
from ssm2edge.stages.calibrate import calibration_signals, steps_of
from ssm2edge.stages.choosing import with_choosing_part
from ssm2edge.stages.feedthrough import EXPECTED, with_feedthrough

CALIBRATED, SYNTHETIC, BLIND = 1 / 8, 1 / 4, 1 / 2
"""Shares of the states kept with calibration samples, with synthetic signals alone, and without calibration.

The reference models (docs/results.md) lose at most two points at an eighth of their states once matched on calibration samples.
On synthetic signals they lose little more, but nobody sees it without samples.  Without calibration the reduction knows nothing
of the inputs that the layers get, and some models fail at a quarter already.
"""


def check(options: Options) -> None:
    """Refuse options that no model could be built with, before anything is loaded.

    Raises
    ------
    UserError
        If one is out of range or names nothing that there is; the sentence says which.
    """
    check_options(options)
    if not options.undecided:
        request_of(options).check()
    if options.method not in METHODS:
        raise UserError(f"There is no reduction method {options.method!r}; choose one of {', '.join(METHODS)}.")


def request_of(options: Options) -> Request:
    """Return how small the model becomes."""
    return Request(options.order, options.keep, options.max_error, options.max_drop, options.max_error_of, options.confidence,
        bytes_of(options.max_bytes), bytes_of(options.max_ram), options.max_latency)  # fmt: skip


def as_they_are(options: Options) -> Options:
    """Return options that leave the layers of a compressed model as they are.

    Raises
    ------
    UserError
        If they ask for a size.
    """
    if not options.undecided:
        raise UserError("The compressed model has its orders already; leave the size out, or build the original.")
    return dataclasses.replace(options, keep=1.0, calibrate="none", feedthrough="own")


def resolve(task: Task, options: Options) -> tuple[Task, Options, str | None]:
    """Decide everything that the options leave to the build.

    Parameters
    ----------
    task
        As it was loaded.
    options
        As given.

    Returns
    -------
    Task
        With the horizon and the length asked for, its layers in the form asked for.
    Options
        With a size and a calibration.
    str or None
        A sentence on the size that was decided, and why, and one on a metric without labels; None without either.

    Raises
    ------
    UserError
        If a layer has fewer states than the order asked for, which the sentence names, or is unstable on the infinite horizon, or
        the samples have another length.
    """
    check_stable(task.layers.values(), task.horizon if isinstance(options.horizon, str) else options.horizon)
    if options.max_loss is not None and not task.samples.labels:
        raise UserError("A largest loss needs labels of the held-out samples; add them, or leave --max-loss out.")
    if options.length is not None:
        if options.length != task.length:
            raise UserError(
                f"A graph for sequences of {options.length} samples cannot be checked on samples of {task.length}; "
                "give samples of that length, or leave the length out."
            )
        task = dataclasses.replace(task, only=options.length)
    if options.order is not None:
        try:
            uniform_orders(task.systems, options.order)
        except ValueError as error:
            raise UserError(f"The model cannot be reduced: {error}") from error
    task, options, reason = _sized(with_choosing_part(task, options), options)
    if not isinstance(options.horizon, str):
        task = dataclasses.replace(task, horizon=options.horizon)
    sentences = " ".join(filter(None, (reason, _unmeasured(task))))
    return with_feedthrough(task, options), options, sentences or None


def _unmeasured(task: Task) -> str | None:
    """Return a sentence on metrics that no labels belong to; None if there are none."""
    metrics, labels = task.source.metrics, task.samples.labels
    without = [name or "the outputs" for name in metrics if (name not in labels if name else not labels)]
    if not without:
        return None
    return (
        f"There are no labels for {', '.join(without)}: the metric is not measured, and only decides how calibration compares "
        "outputs."
    )


def _calibrated(task: Task, options: Options) -> tuple[Task, str]:
    """Return the task with what it is calibrated on, and the kind of calibration.

    Synthetic sequences stand in for calibration samples where there are none, and beside them where they are too few to determine
    the reduced layers at the largest orders that the options allow.
    """
    kind = options.calibrate
    if kind == "none" or not task.held_out:
        return task, "none" if kind == "auto" else kind
    share = CALIBRATED if options.undecided else options.keep or EXPECTED
    orders = {name: options.order or max(1, round(share * system.order)) for name, system in task.systems.items()}
    orders = {name: min(order, task.systems[name].order) for name, order in orders.items()}
    if kind != "auto" and not task.samples.known:
        # Asked for by name, a calibration on samples is refused where there are too few of them.
        return task, kind
    kind = "match" if kind == "auto" else kind
    for synthetic in (False, True) if task.samples.calibration else (True,):
        tried = dataclasses.replace(task, samples=with_calibration(task.samples, options.seed)) if synthetic else task
        try:
            calibration_signals(tried, orders)
            return tried, kind
        except TooFewSamplesError:
            continue
    # Not even synthetic sequences of this length determine the layers.
    return task, "none" if options.calibrate == "auto" else kind


def _sized(task: Task, options: Options) -> tuple[Task, Options, str | None]:
    task, calibrate = _calibrated(task, options)
    options = dataclasses.replace(options, calibrate=calibrate, calibration_steps=steps_of(task, options))
    if not options.undecided:
        return task, options, None
    if calibrate == "none":
        keep, reason = BLIND, "without calibration nothing is known of the inputs of the layers"
    elif len(next(iter(task.samples.calibration.values()))) == task.samples.synthetic:
        keep, reason = SYNTHETIC, f"the synthetic signals of the calibration ({calibrate}) are not the inputs of the model"
    else:
        keep, reason = CALIBRATED, f"the reference models lose little at that size after calibration ({calibrate})"
    widths = [system.batch_shape.numel() for system in task.systems.values()]
    states = sum(width * system.order for width, system in zip(widths, task.systems.values(), strict=True))
    # Every channel keeps at least one state.
    keep = max(keep, sum(widths) / states)
    mend = "--order, --keep, --max-error, --max-drop and --calibrate say otherwise"
    sentence = f"No size was given: {keep:g} of the states are kept, because {reason}; {mend}."
    return task, dataclasses.replace(options, keep=keep), sentence
