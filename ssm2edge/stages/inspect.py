"""The figures of `ssm2edge inspect`: the LTI layers of a model, and the cost of each order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ssm2edge.layers import FoundLayer, Realised, RefusedLayer
from ssm2edge.lowering.mimo_plan import MimoPlan, feedthrough_of, mimo_block_candidates, mimo_sequence_candidates
from ssm2edge.lowering.plan import Plan, block_candidates, sequence_candidates
from ssm2edge.reduction import reduce_system
from ssm2edge.systems.division import TINY, relative
from ssm2edge.systems.mimo_form import to_mimo_sections
from ssm2edge.systems.norms import h2_norm, hankel_singular_values
from ssm2edge.systems.stability import spectral_radius
from ssm2edge.systems.system import System

BLOCKS = (1, 16, 64)
"""Blocks that plans are shown for."""

SHOWN = 3

LARGEST_SHARE = 1 / 4
"""Share of the states up to which the default method is quick."""


@dataclass(frozen=True)
class PlanReport:
    """The plan by which a layer would be computed at one order, and its alternatives.

    Attributes
    ----------
    order
        Real states per channel.
    block
        Samples per block of the streaming graph; None for the whole-sequence graph.
    plan
        The cheapest plan in words.
    candidates
        By ``form:samples``, nanoseconds a sample by the cost model, the cheapest first.  ``--plan`` takes these, but for blocks
        of one sample, which are computed in the cheapest way.
    """

    order: int
    block: int | None
    plan: str
    candidates: Mapping[str, float]


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
    method
        Method of the costs: that of a build.
    costs
        By order: relative h2 error over the whole layer, before any calibration.
    at_most
        Orders whose costs are upper bounds: the method takes long there, and does no worse than balanced truncation.
    plan
        How the whole-sequence graph would compute the layer at full order.
    plans
        How the graphs would compute the layer, at full order and at those of ``costs``.
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
    plans: tuple[PlanReport, ...]
    realised: Realised | None = None
    method: str = "gradient"
    at_most: tuple[int, ...] = ()


@dataclass(frozen=True)
class Inspection:
    """The layers of a model: those that can be reduced, and those that are known and cannot.

    Attributes
    ----------
    layers, kept_layers
        These.
    weights
        Bytes of the weights outside of the layers, by precision.
    """

    layers: tuple[LayerReport, ...]
    kept_layers: tuple[RefusedLayer, ...]
    weights: Mapping[str, int]


def inspect_layer(layer: FoundLayer, horizon: int | None, length: int, method: str = "gradient") -> LayerReport:
    """Measure one layer.

    Parameters
    ----------
    layer
        The layer.
    horizon
        Taps of the norms; None for the infinite horizon.
    length
        Samples of the sequences for which kernels are planned.
    method
        Method of a build.
    """
    system = layer.system
    norm = float(h2_norm(system, horizon).norm())
    values = hankel_singular_values(system, horizon)
    shares = relative(values, values[..., :1])
    orders = [order for order in _halvings(system.order) if order < system.order]
    at_most = tuple(order for order in orders if method == "gradient" and order > LARGEST_SHARE * system.order)
    costs = {}
    for order in orders:
        tried = "balanced" if order in at_most else method
        error = float(reduce_system(system, order, tried, horizon).error.norm())
        error = layer.with_realisation(error, norm) / max(norm, TINY)
        # With the outputs that suit its poles best, no system errs more than silence.
        costs[order] = min(error, 1.0) if order in at_most else error
    channels = system.batch_shape.numel()
    plans = tuple(plan for tried in (system.order, *orders) for plan in _plans(system, tried, length))
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
        hankel_decay={order: float(shares[..., order].mean()) for order in orders},
        costs=costs,
        plan=plans[0].plan,
        plans=plans,
        realised=layer.realised,
        method=method,
        at_most=at_most,
    )


def _plans(system: System, order: int, length: int) -> list[PlanReport]:
    """Plans of a bank, or of one system of many inputs and outputs."""
    plans: dict[int | None, Sequence[Plan] | Sequence[MimoPlan]]
    if system.batch_shape:
        channels = system.batch_shape.numel()
        plans = {None: sequence_candidates(channels, order, length)}
        plans |= {block: block_candidates(channels, order, block) for block in BLOCKS}
    else:
        sections = to_mimo_sections(system)
        squares, feedthrough = 0 if sections.factors is None else len(sections.factors), feedthrough_of(sections.feedthrough)
        sizes = (system.inputs, order, system.outputs, squares)
        plans = {None: mimo_sequence_candidates(*sizes, feedthrough, length)}
        plans |= {block: mimo_block_candidates(*sizes, block, feedthrough) for block in BLOCKS}
    return [PlanReport(order, block, str(found[0]), _candidates(found, block)) for block, found in plans.items()]


def _candidates(plans: Sequence[Plan] | Sequence[MimoPlan], block: int | None) -> dict[str, float]:
    return {f"{'sequence' if block is None else plan.form}:{plan.block}": plan.nanoseconds for plan in plans[:SHOWN]}


def _halvings(order: int) -> list[int]:
    orders = []
    while order >= 1:
        orders.append(order)
        order //= 2
    return orders
