"""The methods of reduction, and the one way to call them.

A new method is one file with a function of the signature :class:`Method`, and one line in ``METHODS``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import torch

from ssm2edge.reduction.aire import aire
from ssm2edge.reduction.balanced import balanced_truncation
from ssm2edge.reduction.batches import in_chunks
from ssm2edge.reduction.contract import Method, Reduction, summarise
from ssm2edge.reduction.gradient import gradient
from ssm2edge.reduction.hippo import hippo
from ssm2edge.reduction.last import last
from ssm2edge.reduction.modal import modal_truncation
from ssm2edge.reduction.modal_singular_perturbation import modal_singular_perturbation
from ssm2edge.reduction.own_order import own_order
from ssm2edge.reduction.singular_perturbation import balanced_singular_perturbation
from ssm2edge.reduction.strayed import stable_result
from ssm2edge.reduction.tlh2 import tlh2
from ssm2edge.systems.dense import with_real_coefficients
from ssm2edge.systems.stability import is_stable, spectral_radius
from ssm2edge.systems.system import ARRAYS, System, reading_after
from ssm2edge.systems.window import check_horizon

METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "gradient": gradient,
        "balanced": balanced_truncation,
        "tlh2": tlh2,
        "singular_perturbation": balanced_singular_perturbation,
        "modal": modal_truncation,
        "modal_singular_perturbation": modal_singular_perturbation,
        "last": last,
        "aire": aire,
        "hippo": hippo,
    }
)


def reduce_system(system: System, order: int, method: str = "gradient", horizon: int | None = None) -> Reduction:
    """Reduce every system of a batch to ``order`` states.

    Parameters
    ----------
    system
        Systems of any batch shape, stable unless the horizon is finite.
    order
        States to keep, from 1 to ``system.order``; the system's own order returns it unchanged,
        unless float32 could not hold it (``own_order.py``).
    method
        Name in ``METHODS``.
    horizon
        Taps of the impulse response (after the feedthrough) on which errors count; None for the infinite horizon.

    Returns
    -------
    Reduction
        Of the same batch shape; every reduced system is stable and finite.

    Raises
    ------
    ValueError
        For an unknown method, an order or horizon out of range, NaN or infinity in the system, or a pole with modulus >= 1 on the
        infinite horizon.
    """
    if method not in METHODS:
        raise ValueError(f"there is no reduction method {method!r}; choose one of {', '.join(sorted(METHODS))}.")
    if isinstance(order, bool) or not isinstance(order, int) or not 1 <= order <= system.order:
        raise ValueError(f"the order must lie between 1 and the system's own order {system.order}, not {order!r}.")
    check_horizon(horizon)
    _check_systems(system, horizon)
    if system.after_sample:
        return _reduce_after_sample(system, order, method, horizon)
    if order == system.order:
        with torch.no_grad():
            return own_order(system, method, horizon)
    with torch.no_grad():
        result = in_chunks(METHODS[method], with_real_coefficients(system), order, horizon)
    result = stable_result(system, result)
    _ensure(result, order)
    return result


def _reduce_after_sample(system: System, order: int, method: str, horizon: int | None) -> Reduction:
    """Reduce ``C A^j B``, j = 0, 1, ..., that is these matrices in paper form without the sample of delay.

    The h2 error does not see a delay, and lag zero is one tap more.
    """
    lags = None if horizon is None else horizon + 1
    delayed = reduce_system(replace(system, after_sample=False), order, method, lags)
    # A method that changes the feedthrough fills it, and then paper form costs no more.
    reduced = reading_after(delayed.system)
    return summarise(system, reduced, method, horizon, delayed.outcomes, delayed.iterations)


def _check_systems(system: System, horizon: int | None) -> None:
    """Refuse systems that no method can reduce."""
    for name, value in zip(ARRAYS, system.arrays(), strict=False):
        if not torch.isfinite(value).all():
            raise ValueError(f"{name} holds NaN or infinite entries; check the weights the system was read from.")
    if horizon is None and not is_stable(system).all():
        radius = float(spectral_radius(system).max())
        raise ValueError(
            f"a pole has modulus {radius:.9g}; on the infinite horizon only stable systems (all poles inside the unit disc) can "
            "be reduced."
        )


def _ensure(result: Reduction, order: int) -> None:
    """Hold a method to the contract; a breach is a defect of the method, not of the input."""
    system = result.system
    finite = all(torch.isfinite(x).all() for x in system.arrays())
    if system.order != order or not finite or not is_stable(system).all():
        raise RuntimeError(f"the reduction method {result.method!r} broke its contract (order, stability or finiteness).")
