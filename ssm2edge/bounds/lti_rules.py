"""Rules for the LTI layers: a reduction adds an error, and the reduced layer filters the error before it."""

from __future__ import annotations

import torch
from torch import Tensor, fx

from ssm2edge.bounds.entering import inputs_of, note_size, reached, smallest_of, unbounded
from ssm2edge.bounds.layer_gains import MimoGains, SisoGains
from ssm2edge.bounds.signals import Error, Size, Term, merged, size_of_peak, total, weighted
from ssm2edge.bounds.square_rule import square
from ssm2edge.bounds.walk import Known, Walk


def bank(node: fx.Node, walk: Walk) -> Known:
    """Bound ``G u`` against ``Ghat uhat`` of a bank: ``(G - Ghat) u + Ghat (u - uhat)``."""
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
    """Bound the error of the reduction itself, on inputs of this size."""
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
    if not parts:
        raise unbounded(name)
    return min(parts, key=total)


def mimo(node: fx.Node, walk: Walk) -> Known:
    """Bound one system of many inputs and outputs: as a bank, with gains of matrices; and its squares, if it has any."""
    name = walk.network.layers[node]
    layer = walk.layers[name]
    assert isinstance(layer, MimoGains)
    size, error = walk.argument(node)
    linear, entering = layer.linear, inputs_of(node, name, size, walk)
    injected = smallest_of(linear.injected, entering)
    walk.note(node, "largest l2 gain of the reduced block", linear.reduced.energy(torch.eye(size.channels).double()), "proven")
    peaks = [reached(linear.original, size), reached(linear.reduced, size)]
    gain = linear.reduced.energy
    if layer.squares is not None:
        squared = square(node, layer.squares, size, entering, walk)
        injected += squared.injected
        peaks = [one + other for one, other in zip(peaks, squared.peaks, strict=True)]

        def gain(inputs: Tensor) -> float:
            return linear.reduced.energy(inputs) + squared.gain(inputs)

    ones = torch.ones(linear.reduced.system.outputs, dtype=torch.float64)
    added = (Term(name, ones, injected),)
    walk.pass_layer(name, error, added)
    return size_of_peak(torch.maximum(*peaks)), added + merged(error, lambda t: t.value * gain(torch.diag(t.axes)), len(ones))
