"""What a model's LTI layers are, and what each order would cost: the figures of `ssm2edge inspect`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ssm2edge.layers import FoundLayer, Realised, RefusedLayer
from ssm2edge.lowering.mimo_plan import plan_mimo_sequence
from ssm2edge.lowering.plan import plan_sequence
from ssm2edge.reduction import reduce_system
from ssm2edge.systems.mimo_form import to_mimo_sections
from ssm2edge.systems.norms import h2_norm, hankel_singular_values
from ssm2edge.systems.stability import spectral_radius
from ssm2edge.systems.system import System


@dataclass(frozen=True)
class LayerReport:
    """One layer, seen before anything is built.

    Attributes
    ----------
    name, library, kind, channels, order, parameters
        As found.
    horizon
        Taps of the norms; None for the infinite horizon.
    spectral_radius
        Largest pole modulus of all channels.
    h2_norm
        Of the whole layer.
    hankel_decay
        By order r: the mean over channels of the first neglected Hankel singular value relative to the largest.
    costs
        By order: relative h2 error of balanced truncation over the whole layer; the default method leaves less.
    plan
        How the whole-sequence graph would compute the layer at full order.
    realised
        How the system was realised from the layer's impulse response; None where it was read exactly.
    """

    name: str
    library: str
    kind: str
    channels: int
    order: int
    parameters: int
    horizon: int | None
    spectral_radius: float
    h2_norm: float
    hankel_decay: Mapping[int, float]
    costs: Mapping[int, float]
    plan: str
    realised: Realised | None = None


@dataclass(frozen=True)
class Inspection:
    """The layers of a model: those that can be reduced, and those that are known and cannot."""

    layers: tuple[LayerReport, ...]
    kept_layers: tuple[RefusedLayer, ...]


def inspect_layer(layer: FoundLayer, horizon: int | None) -> LayerReport:
    """Measure one layer."""
    system = layer.system
    norm = float(h2_norm(system, horizon).norm())
    values = hankel_singular_values(system, horizon)
    relative = values / values[..., :1].clamp_min(1e-300)
    orders = [order for order in _halvings(system.order) if order < system.order]
    costs = {order: float(reduce_system(system, order, "balanced", horizon).error.norm()) / max(norm, 1e-300) for order in orders}
    channels = system.batch_shape.numel()
    return LayerReport(
        name=layer.name,
        library=layer.library,
        kind=layer.kind,
        channels=channels,
        order=system.order,
        parameters=layer.parameters,
        horizon=horizon,
        spectral_radius=float(spectral_radius(system).max()),
        h2_norm=norm,
        hankel_decay={order: float(relative[..., order].mean()) for order in orders},
        costs=costs,
        plan=_plan(system),
        realised=layer.realised,
    )


def _plan(system: System) -> str:
    """How the whole-sequence graph would compute a bank, or one system of many inputs and outputs."""
    if system.batch_shape:
        return str(plan_sequence(system.batch_shape.numel(), system.order))
    squares = 0 if (factors := to_mimo_sections(system).factors) is None else len(factors)
    return str(plan_mimo_sequence(system.inputs, system.order, system.outputs, squares))


def _halvings(order: int) -> list[int]:
    orders = []
    while order >= 1:
        orders.append(order)
        order //= 2
    return orders
