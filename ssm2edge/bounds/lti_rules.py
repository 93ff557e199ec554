"""Rules for the LTI layers: what a reduction adds to the error, and what the reduced layer makes of the error before it."""

from __future__ import annotations

import torch
from torch import Tensor, fx

from ssm2edge.bounds.errors import BoundError
from ssm2edge.bounds.layer_gains import MimoGains, SisoGains
from ssm2edge.bounds.matrix_gains import MatrixGains
from ssm2edge.bounds.signals import Error, Size, Term, merged, size_of_peak, total, weighted
from ssm2edge.bounds.walk import Known, Walk


def bank(node: fx.Node, walk: Walk) -> Known:
    """``G u`` against ``Ghat uhat``: ``(G - Ghat) u + Ghat (u - uhat)``."""
    name = walk.network.layers[node]
    layer = walk.layers[name]
    assert isinstance(layer, SisoGains)
    size, error = walk.argument(node)
    injected = injection(node, name, layer.injected, size, walk)
    walk.pass_layer(name, error, injected)
    walk.note(node, "largest l2 gain of the reduced block", float(layer.reduced.energy.max()), "proven")
    peak = size.peak * torch.maximum(layer.original.peak, layer.reduced.peak)
    return size_of_peak(peak), injected + weighted(error, layer.reduced.energy)


def injection(node: fx.Node, name: str, gain: Tensor, size: Size, walk: Walk) -> Error:
    """The error that the reduction itself makes, on inputs of this size."""
    ones = torch.ones_like(gain)
    parts: list[Error] = []
    if walk.observed is not None:
        seen = walk.observed.inputs[node.name]
        walk.note(node, "largest input, root mean square", float(seen.norm()), "estimated")
        parts.append((Term(name, ones, float((gain * seen).norm())),))
    if bool(torch.isfinite(size.peak).all()):
        note_size(node, size, walk)
        parts.append((Term(name, ones, float((gain * size.peak).norm())),))
        shifted = (Term(name, ones, float((gain * size.offset).norm())),)
        parts.append((Term(name, gain * size.axes, size.radius), *shifted))
    return smallest(parts, name)


def mimo(node: fx.Node, walk: Walk) -> Known:
    """One system of many inputs and outputs: as a bank, with gains of matrices."""
    name = walk.network.layers[node]
    layer = walk.layers[name]
    assert isinstance(layer, MimoGains)
    size, error = walk.argument(node)
    outputs = layer.reduced.system.outputs
    injected = mimo_injection(node, name, layer, size, walk)
    walk.pass_layer(name, error, injected)
    walk.note(node, "largest l2 gain of the reduced block", layer.reduced.energy(identity(size)), "proven")
    passed = merged(error, lambda term: term.value * layer.reduced.energy(torch.diag(term.axes)), outputs)
    peak = torch.maximum(reached(layer.original, size), reached(layer.reduced, size))
    return size_of_peak(peak), injected + passed


def mimo_injection(node: fx.Node, name: str, layer: MimoGains, size: Size, walk: Walk) -> Error:
    """The error that the reduction itself makes, on inputs of this size."""
    ones = torch.ones(layer.difference.system.outputs, dtype=torch.float64)
    parts: list[Error] = []
    if walk.observed is not None:
        directions, levels = walk.observed.directions[node.name]
        walk.note(node, "largest input, root mean square", float(levels.norm()), "estimated")
        # u = Q n with |n_i| <= level_i: with any weights w, ||E u|| <= ||E Q diag(w)|| ||n / w||; for inputs along one direction
        # and for inputs alike in all, these weights are the best.
        parts.append((Term(name, ones, layer.injected(directions * levels.sqrt()) * float(levels.sum()) ** 0.5),))
    if bool(torch.isfinite(size.peak).all()):
        note_size(node, size, walk)
        shifted = (Term(name, ones, layer.injected(size.offset[:, None])),)
        parts.append((Term(name, ones, layer.injected(torch.diag(size.axes)) * size.radius), *shifted))
    return smallest(parts, name)


def reached(gains: MatrixGains, size: Size) -> Tensor:
    """Largest magnitude of each output, ``(outputs,)``, for inputs of this size; infinity where nothing bounds them."""
    if not bool(torch.isfinite(size.peak).all()):
        return torch.full((gains.system.outputs,), torch.inf, dtype=torch.float64)
    together = gains.peaks(torch.diag(size.axes)) * size.radius + gains.peaks(size.offset[:, None])
    return torch.minimum(together, gains.magnitudes() @ size.peak)


def identity(size: Size) -> Tensor:
    """Inputs as they are."""
    return torch.eye(size.channels, dtype=torch.float64)


def note_size(node: fx.Node, size: Size, walk: Walk) -> None:
    """Remember how large the inputs of a layer can be."""
    walk.note(node, "largest input, at every step", float(size.axes.max()) * size.radius + float(size.offset.norm()), "proven")


def smallest(parts: list[Error], name: str) -> Error:
    """The sharpest of several bounds on what a reduction adds."""
    if not parts:
        raise BoundError(
            f"Nothing bounds the inputs of layer {name or '(the model)'}: "
            "an output bound for all inputs needs a normalisation before it."
        )
    return min(parts, key=total)
