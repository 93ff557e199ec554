"""The largest orders at which layers are no larger than they were."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from ssm2edge.layers import FoundLayer, blocks, replace_layers
from ssm2edge.original.recording import count_parameters
from ssm2edge.reduction.layerwise import reduce_layers
from ssm2edge.systems.stability import with_poles_inside

PLAIN = "modal"
"""Method of the reductions whose numbers are counted: all others that fill no feedthrough store as many at an order."""


def counting(method: str) -> str:
    """Return the quickest method whose reductions store as many numbers; those that fill a feedthrough are counted themselves."""
    return method if method.endswith("singular_perturbation") else PLAIN


def largest_orders(model: nn.Module, layers: Mapping[str, FoundLayer], method: str = PLAIN) -> dict[str, int]:
    """Return, by layer, the largest order whose block stores no more numbers than the layer does.

    That is the layer's own order, but where it stores what it knows in fewer numbers than poles and residues: channels of one
    state matrix with a step for every state, or with steps of their own for decays and for frequencies.  It is at least half of
    the layer's own; where that does not suffice, and for layers that are realised from what they answer, it is the layer's own.

    Parameters
    ----------
    model
        In which the layers were found.
    layers
        By name; the parts of one layer, which may share what they store, get the same order.
    method
        Reduction method.
    """
    own = {name: layer.system.order for name, layer in layers.items()}
    read = {name: layer for name, layer in layers.items() if layer.realised is None}
    found = dict(own)
    larger = larger_layers(model, read, found, method) if read else set()
    while larger:
        found |= {name: found[name] - 1 for name in larger}
        # Less than half of the states is the user's to decide.
        lost = {layers[name].module for name in larger if 2 * found[name] < own[name]}
        given_up = {name for name in larger if layers[name].module in lost}
        found |= {name: own[name] for name in given_up}
        left = {name: layers[name] for name in larger - given_up}
        larger = larger_layers(model, left, found, method) if left else set()
    return found


def larger_layers(model: nn.Module, layers: Mapping[str, FoundLayer], orders: Mapping[str, int], method: str = PLAIN) -> set[str]:
    """Return those layers whose blocks store more numbers at these orders than the layers do; of a layer of several parts, all.

    Parameters
    ----------
    model
        In which the layers were found.
    layers
        By name, all parts of those that have several.
    orders
        By layer, at most its own.
    method
        Reduction method.
    """
    systems = {name: with_poles_inside(layer.system) for name, layer in layers.items()}
    smaller = {name: system for name, system in systems.items() if orders[name] < system.order}
    if smaller:
        reductions = reduce_layers(smaller, {name: orders[name] for name in smaller}, counting(method), None)
        systems |= {name: reduction.system for name, reduction in reductions.items()}
    # Numbers are counted alone: where the poles lie does not matter.
    held = blocks(replace_layers(model, systems))
    modules: dict[str, list[str]] = {}
    for name, layer in layers.items():
        modules.setdefault(layer.module, []).append(name)
    larger = set()
    for parts in modules.values():
        allowed = sum(layers[name].parameters + layers[name].frozen for name in parts)
        if count_parameters(nn.ModuleList(held[name] for name in parts)) > allowed:
            larger.update(parts)
    return larger
