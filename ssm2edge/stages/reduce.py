"""Every layer's order, and every System reduced to it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from torch import nn

from ssm2edge.cache import Reductions, Store, key_of, tool
from ssm2edge.errors import UserError
from ssm2edge.options import Options
from ssm2edge.orders import ChosenBits, Judged, Selection, choose_jointly, choose_reductions
from ssm2edge.orders.distribution import uniform_orders
from ssm2edge.orders.judging import Reduce, check_judgeable
from ssm2edge.orders.selection import confidence_down
from ssm2edge.original.devices import open_device
from ssm2edge.original.task import Task
from ssm2edge.reduction import Reduction
from ssm2edge.reduction.layerwise import reduce_layers
from ssm2edge.stages.budgets import around_of, cost_of
from ssm2edge.stages.calibrate import calibrate_reductions, judged_after_calibration
from ssm2edge.stages.limits import counting, largest_orders
from ssm2edge.stages.load import original_outputs
from ssm2edge.stages.progress import Progress
from ssm2edge.stages.quantise import with_precision
from ssm2edge.stages.resolve import request_of
from ssm2edge.systems.system import System


def reduce(
    task: Task, options: Options, store: Store, progress: Progress
) -> tuple[dict[str, Reduction], Selection | None, ChosenBits | None]:
    """Choose each layer's order, and reduce each System to it; no order makes a layer larger than it is.

    Returns
    -------
    dict
        Reductions by layer.
    Selection or None
        What speaks for the size, where samples chose it.
    ChosenBits or None
        Bits of the weights around the layers, where a budget of bytes is for them, too.

    Raises
    ------
    UserError
        If the layers cannot be reduced as asked, or nothing meets the request.
    """
    progress("reduce", 0.0)

    def step(what: str) -> None:
        progress(f"reduce {what}", 0.0)

    reduced = reducer_of(task, store)
    try:
        orders = plain_orders(task, options)
        if orders is not None:
            return reduced(task.systems, orders, options.method, task.horizon), None, None
        judged, around = judged_of(task, options, reduced, store, progress), around_of(task, options)
        if around is not None:
            reductions, bits = choose_jointly(request_of(options), judged, around, step)
            return reductions, None, bits
        return (*choose_reductions(request_of(options), judged, step), None)
    except ValueError as error:
        raise UserError(f"The model cannot be reduced: {error}") from error


def reducer_of(task: Task, store: Store) -> Reduce:
    """Return what reduces systems, at most to orders at which their layers do not grow."""

    @cache
    def largest_of(filled: str) -> dict[str, int]:
        return largest_orders(task.model, task.layers, filled)

    def reduced(
        systems: Mapping[str, System], orders: Mapping[str, int], method: str, horizon: int | None
    ) -> dict[str, Reduction]:
        largest = largest_of(counting(method))
        orders = {name: min(order, largest[name]) for name, order in orders.items()}
        # Which model the systems come from, and which samples, does not matter to the reductions.
        key = key_of(tool(), list(systems.items()), [orders[name] for name in systems], method, horizon)
        return store.kept(Reductions(), key, lambda: reduce_layers(systems, orders, method, horizon))

    return reduced


def judged_of(task: Task, options: Options, reduced: Reduce, store: Store, progress: Progress) -> Judged:
    """Return what orders are judged by: the validation samples with the original's answers, and models as the build makes them.

    Raises
    ------
    UserError
        If labels judge no answer, or too few samples could show anything.
    """
    validation = task.samples.validation
    original = original_outputs(task, validation, open_device(options.device), store, progress) if validation else {}
    if options.max_drop is not None:
        each = confidence_down(options.confidence)
        check_judgeable(task.samples.validation_labels, original, options.max_drop, each)

    def quick(reductions: Mapping[str, Reduction]) -> dict[str, Reduction]:
        return judged_after_calibration(task, options, reductions, store)

    def finish(reductions: Mapping[str, Reduction]) -> nn.Module:
        calibrated = calibrate_reductions(
            task, options, reductions, store, lambda stage, share: progress(f"reduce {stage}", share), final=True
        )
        return with_precision(task, options, calibrated)

    return Judged(task, original, options.method, reduced, quick, finish, cost_of(task, options))


def plain_orders(task: Task, options: Options) -> dict[str, int] | None:
    """Return orders that need no study of the network: the same in all layers, all states, or a share where nothing runs.

    Raises
    ------
    UserError
        If the size asked for can only be found on samples, and there are none.
    """
    if options.order is not None:
        return uniform_orders(task.systems, options.order)
    if options.keep is not None and (options.keep == 1 or not task.held_out):
        share = options.keep
        return {name: max(1, round(share * system.order)) for name, system in task.systems.items()}
    if not task.held_out:
        raise UserError("What limits the size is found on samples; give some, or ask for an order or a share to keep.")
    return None
