"""Reduce the systems of all layers at once: layers of the same shape and order go through a method as one batch.

Banks whose shared poles save numbers are reduced by themselves, and stay tied.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from itertools import accumulate

from ssm2edge.reduction import reduce_system
from ssm2edge.reduction.contract import Reduction
from ssm2edge.reduction.tied import reduce_tied, shares_poles
from ssm2edge.systems.system import System, concatenate, stack


def reduce_layers(
    systems: Mapping[str, System], orders: Mapping[str, int], method: str, horizon: int | None
) -> dict[str, Reduction]:
    """Reduce every layer to its own order.

    Parameters
    ----------
    systems
        By layer: banks of batch shape ``(channels,)``, and single systems of batch shape ``()``.
    orders
        By layer, states to keep in each of its systems.
    method, horizon
        As in :func:`ssm2edge.reduction.reduce_system`.

    Returns
    -------
    dict
        One reduction per layer.

    Raises
    ------
    ValueError
        As :func:`ssm2edge.reduction.reduce_system` does; the sentence begins with the layer's name.
    """
    groups: dict[tuple[object, ...], list[str]] = defaultdict(list)
    reductions: dict[str, Reduction] = {}
    for name, system in systems.items():
        if shares_poles(system, orders[name]):
            reductions[name] = reduce_tied(system, orders[name], method, horizon)
            continue
        kind = (len(system.batch_shape), system.M is not None, system.after_sample)
        groups[system.order, orders[name], system.inputs, system.outputs, *kind].append(name)
    for names in groups.values():
        order = orders[names[0]]
        single = not systems[names[0]].batch_shape
        banks = [stack([systems[name]]) if single else systems[name] for name in names]
        joined = reduce_system(concatenate(banks), order, method, horizon)
        parts = _split(joined, [bank.batch_shape[0] for bank in banks])
        reductions |= dict(zip(names, [part[0] for part in parts] if single else parts, strict=True))
    return {name: reductions[name] for name in systems}


def _split(joined: Reduction, counts: list[int]) -> list[Reduction]:
    return [joined[end - count : end] for count, end in zip(counts, accumulate(counts), strict=True)]
