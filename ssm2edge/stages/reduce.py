"""Every layer's order, and every System reduced to it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ssm2edge.cache import Reductions, Store, key_of, tool
from ssm2edge.errors import UserError
from ssm2edge.options import Options
from ssm2edge.orders import Judged, choose_reductions
from ssm2edge.orders.distribution import uniform_orders
from ssm2edge.original.task import Task
from ssm2edge.reduction import Reduction
from ssm2edge.reduction.layerwise import reduce_layers
from ssm2edge.stages.calibrate import judged_after_calibration
from ssm2edge.stages.limits import largest_orders
from ssm2edge.stages.progress import Progress
from ssm2edge.stages.resolve import request_of
from ssm2edge.systems.system import System


def reduce(
    task: Task, options: Options, original: Mapping[str, NDArray[np.float32]], store: Store, progress: Progress
) -> dict[str, Reduction]:
    """Choose each layer's order, and reduce each System to it; no order makes a layer larger than it is.

    Raises
    ------
    UserError
        If the layers cannot be reduced as asked, or nothing meets the request.
    """
    progress("reduce", 0.0)
    largest = largest_orders(task.model, task.layers, options.method)

    def reduced(
        systems: Mapping[str, System], orders: Mapping[str, int], method: str, horizon: int | None
    ) -> dict[str, Reduction]:
        orders = {name: min(order, largest[name]) for name, order in orders.items()}
        # Which model the systems come from, and which samples, does not matter to the reductions.
        key = key_of(tool(), list(systems.items()), [orders[name] for name in systems], method, horizon)
        return store.kept(Reductions(), key, lambda: reduce_layers(systems, orders, method, horizon))

    try:
        orders = plain_orders(task, options)
        if orders is not None:
            return reduced(task.systems, orders, options.method, task.horizon)
        judged = Judged(
            task, original, options.method, reduced, lambda found: judged_after_calibration(task, options, found, store)
        )
        return choose_reductions(request_of(options), judged, lambda step: progress(f"reduce {step}", 0.0))
    except ValueError as error:
        raise UserError(f"The model cannot be reduced: {error}") from error


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
        raise UserError("A largest error or drop is found on samples; give some, or ask for an order or a share to keep.")
    return None
