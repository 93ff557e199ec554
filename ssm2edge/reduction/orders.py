"""How many states each layer keeps."""

from __future__ import annotations

from collections.abc import Mapping

from ssm2edge.systems.system import System


def uniform_orders(systems: Mapping[str, System], order: int) -> dict[str, int]:
    """Give every layer the same order.

    Raises
    ------
    ValueError
        If a layer has fewer states, or the order is less than one; the sentence names the layer.
    """
    for name, system in systems.items():
        if not 1 <= order <= system.order:
            raise ValueError(f"layer {name} has {system.order} states per channel: ask for an order from 1 to {system.order}, not {order}.")
    return dict.fromkeys(systems, order)
