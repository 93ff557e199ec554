"""Reduce the systems of all layers at once: layers of the same shape and order go through a method as one batch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from torch import Tensor

from ssm2edge.reduction import reduce_system
from ssm2edge.reduction.contract import Reduction
from ssm2edge.systems.system import System, concatenate


def reduce_layers(
    systems: Mapping[str, System], orders: Mapping[str, int], method: str, horizon: int | None
) -> dict[str, Reduction]:
    """Reduce every layer to its own order.

    Parameters
    ----------
    systems
        By layer, each of batch shape ``(channels,)``.
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
    for name, system in systems.items():
        groups[system.order, orders[name], system.inputs, system.outputs, len(system.batch_shape)].append(name)
    reductions: dict[str, Reduction] = {}
    for names in groups.values():
        order = orders[names[0]]
        counts = [systems[name].batch_shape[0] for name in names]
        joined = reduce_system(concatenate([systems[name] for name in names]), order, method, horizon)
        reductions |= dict(zip(names, _split(joined, counts), strict=True))
    return {name: reductions[name] for name in systems}


def _split(joined: Reduction, counts: list[int]) -> list[Reduction]:
    def parts(values: Tensor) -> tuple[Tensor, ...]:
        return values.split(counts)

    starts = [sum(counts[:i]) for i in range(len(counts))]
    columns = [
        parts(x) for x in (joined.error, joined.relative_error, joined.spectral_radius, joined.outcomes, joined.iterations)
    ]
    return [
        Reduction(
            joined.system[start : start + count], joined.method, joined.order, joined.horizon, *(column[i] for column in columns)
        )
        for i, (start, count) in enumerate(zip(starts, counts, strict=True))
    ]
