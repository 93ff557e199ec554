"""How small each layer becomes, and its reduction to that."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from ssm2edge.cache import Reductions, Store, key_of, tool
from ssm2edge.errors import UserError
from ssm2edge.options import Options
from ssm2edge.orders import Judged, choose_reductions
from ssm2edge.orders.distribution import uniform_orders
from ssm2edge.reduction import Reduction
from ssm2edge.reduction.layerwise import reduce_layers
from ssm2edge.stages.calibrate import judged_after_calibration
from ssm2edge.stages.limits import largest_orders
from ssm2edge.stages.load import Loaded, horizon_of
from ssm2edge.stages.replace import replace, traced_model
from ssm2edge.systems.system import System
from ssm2edge.traced import Network


def check_order(loaded: Loaded, options: Options) -> None:
    """Refuse an order that a layer does not have, before anything takes long.

    Raises
    ------
    UserError
        The sentence names the layer and its states.
    """
    if options.order is None:
        return
    try:
        uniform_orders(loaded.systems, options.order)
    except ValueError as error:
        raise UserError(f"The model cannot be reduced: {error}") from error


def reduce(
    loaded: Loaded,
    options: Options,
    original: Mapping[str, NDArray[np.float32]],
    store: Store,
    progress: Callable[[str], None],
) -> dict[str, Reduction]:
    """Choose each layer's order, and reduce each System to it; no order makes a layer larger than it is.

    Raises
    ------
    UserError
        If the layers cannot be reduced as asked, or nothing meets the request.
    """
    systems, horizon = loaded.systems, horizon_of(options, loaded)
    largest = largest_orders(loaded.model, loaded.layers)

    def reduced(
        systems: Mapping[str, System], orders: Mapping[str, int], method: str, horizon: int | None
    ) -> dict[str, Reduction]:
        orders = {name: min(order, largest[name]) for name, order in orders.items()}
        # Which model the systems come from, and which samples, does not matter to the reductions.
        key = key_of(tool(), list(systems.items()), [orders[name] for name in systems], method, horizon)
        return store.kept(Reductions(), key, lambda: reduce_layers(systems, orders, method, horizon))

    try:
        if options.order is not None:
            return reduced(systems, uniform_orders(systems, options.order), options.method, horizon)
        network = Network(traced_model(replace(loaded, systems), loaded).program)
        samples, axis = loaded.samples, loaded.source.time_axis
        judged = Judged(
            loaded.model, network, systems, samples.calibration, samples.held_out, samples.labels, original, axis,
            options.method, horizon, reduced, lambda reductions: judged_after_calibration(loaded, options, reductions, store),
        )  # fmt: skip
        return choose_reductions(options.request, judged, progress)
    except ValueError as error:
        raise UserError(f"The model cannot be reduced: {error}") from error
