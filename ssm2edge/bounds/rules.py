"""One rule per operator: from bounds on its arguments to bounds on its value.

A rule gets the node and the walk (the bounds so far).  It returns the size of the value, which holds for both networks, and the
error between the two.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from operator import getitem

import torch
from torch import fx

from ssm2edge.bounds import constants
from ssm2edge.bounds.channels import channel_axis
from ssm2edge.bounds.constants import Kind
from ssm2edge.bounds.errors import BoundError
from ssm2edge.bounds.lti_rules import bank, mimo
from ssm2edge.bounds.signals import Size, Term, flattened, mixed, scaled, size_of_peak, total, unknown_size, weighted
from ssm2edge.bounds.walk import Known, Rule, Walk
from ssm2edge.traced.network import BANK, MIMO, operator


def unchanged(node: fx.Node, walk: Walk) -> Known:
    """Bound operators that only move values."""
    source = node.args[0]
    assert isinstance(source, fx.Node)
    size, error = walk.argument(node)
    if node.meta["val"].shape[channel_axis(node)] != size.channels:
        raise BoundError(f"The output bound cannot follow the channels through {node.name}.")
    return size, error


def flip(node: fx.Node, walk: Walk) -> Known:
    """Bound time backwards: no norm changes."""
    size, error = walk.argument(node)
    axes = node.args[1]
    assert isinstance(axes, list | tuple)
    if channel_axis(node) in (axis % node.meta["val"].ndim for axis in axes):
        raise BoundError(f"The output bound has no rule for {node.target} of the channels ({node.name}).")
    return size, error


def embedding(node: fx.Node, walk: Walk) -> Known:
    """Bound rows of a table, the same ones in both networks."""
    table = walk.weight(node, 0)
    assert table is not None
    return size_of_peak(table.abs().amax(0)), ()


def mean(node: fx.Node, walk: Walk) -> Known:
    """Bound a mean over time."""
    source, axes = node.args[0], node.args[1]
    assert isinstance(source, fx.Node)
    assert isinstance(axes, list | tuple)
    rank = source.meta["val"].ndim
    if 0 in (axis % rank for axis in axes) or channel_axis(source) in (axis % rank for axis in axes):
        raise BoundError(f"The output bound has no rule for means over the batch or channels ({node.name}).")
    return walk.argument(node)


def linear(node: fx.Node, walk: Walk) -> Known:
    """Bound ``W x + b``: the error by the spectral norm of W, its columns weighted by the error's axes."""
    weight, bias = walk.weight(node, 1), walk.weight(node, 2)
    assert weight is not None
    if operator(node) == "conv1d":
        if weight.shape[-1] != 1:
            raise BoundError(f"The output bound has a rule for convolutions of one tap only, not for {node.name}.")
        weight = weight[..., 0]
    size, error = walk.argument(node)
    if weight.shape[1] != size.channels:
        raise BoundError(f"The output bound has no rule for grouped weights ({node.name}).")
    peak = size.peak
    # Infinity times a zero weight is nothing known all the same.
    reached = weight.abs() @ peak if bool(torch.isfinite(peak).all()) else torch.full((weight.shape[0],), torch.inf).double()
    walk.note(node, "spectral norm", float(torch.linalg.matrix_norm(weight, 2)), "proven")
    return size_of_peak(reached if bias is None else reached + bias.abs()), mixed(error, weight)


def activation(node: fx.Node, walk: Walk) -> Known:
    """Bound a function of each number by itself."""
    name = operator(node)
    size, error = walk.argument(node)
    if name == "gelu" and node.kwargs.get("approximate", "none") != "none":
        raise BoundError(f"The output bound has a rule for the exact gelu only ({node.name} is approximated).")
    constant = constants.ACTIVATIONS[name]
    walk.note(node, f"Lipschitz constant of {name}", constant, "proven")
    reached = size.peak if name in constants.VANISHING_AT_ZERO else torch.ones_like(size.peak)
    return size_of_peak(torch.minimum(reached, torch.ones_like(reached)) if name == "tanh" else reached), scaled(error, constant)


def glu(node: fx.Node, walk: Walk) -> Known:
    """Bound ``a sigmoid(b)``, which is Lipschitz on a bounded set of a."""
    size, error = walk.argument(node)
    half = size.channels // 2
    if node.meta["val"].shape[channel_axis(node)] != half:
        raise BoundError(f"The output bound has a rule for gates over the channels only ({node.name}).")
    peak = float(size.peak[:half].max())
    kind: Kind = "proven"
    if walk.observed is not None and walk.observed.peaks[node.name] < peak:
        peak, kind = walk.observed.peaks[node.name], "estimated"
    walk.note(node, "largest gated value", peak, kind)
    constant = constants.glu(peak)
    walk.note(node, "Lipschitz constant of the gate", constant, kind)
    return size_of_peak(size.peak[:half]), flattened(error, constant, half)


def layer_norm(node: fx.Node, walk: Walk) -> Known:
    """Bound ``w (x - mean) / deviation + b``, with deviation = sqrt(variance + eps).

    Two vectors with their means removed and sqrt(H eps) appended lie at distance d; scaled to length sqrt(H) they lie at most
    ``2 sqrt(H) d / (|x| + |y|) = 2 d / (deviation_x + deviation_y)`` apart (Dunkl and Williams 1964), so at most d over the
    smallest deviation, and never further apart than the sphere is wide, 2 sqrt(H).
    """
    shape, eps = node.args[1], node.args[4] if len(node.args) > 4 else 1e-5
    assert isinstance(shape, list | tuple)
    assert isinstance(eps, float)
    size, error = walk.argument(node)
    if len(shape) != 1 or shape[0] != size.channels:
        raise BoundError(f"The output bound has a rule for norms over the channels only ({node.name}).")
    width = float(size.channels)
    ones = torch.ones(size.channels, dtype=torch.float64)
    weight, bias = walk.weight(node, 2), walk.weight(node, 3)
    axes = ones if weight is None else weight.abs()
    offset = 0 * ones if bias is None else bias
    deviation, kind = math.sqrt(eps), "proven"
    if walk.observed is not None:
        deviation, kind = walk.observed.deviations[node.name], "estimated"
    walk.note(node, "smallest deviation", deviation, "proven" if kind == "proven" else "estimated")
    behind = scaled(flattened(error, 1.0, size.channels), 1 / deviation)
    diameter, reached = 2 * math.sqrt(width), total(behind)
    if walk.capped and reached > diameter:
        walk.caps.append(node.name)
        behind = scaled(behind, diameter / reached)
    # Zero mean and length at most sqrt(H) leave one entry at most sqrt(H - 1).
    peak = axes * math.sqrt(width - 1) + offset.abs()
    return Size(axes, math.sqrt(width), offset, peak), weighted(behind, axes)


def add(node: fx.Node, walk: Walk) -> Known:
    """Bound a sum of two values, or of a value and a constant."""
    if any(walk.network.weights.get(a) is not None for a in node.args if isinstance(a, fx.Node)):
        size, error = next(walk.known[a] for a in node.args if isinstance(a, fx.Node) and a in walk.known)
        return unknown_size(size.channels), error
    if not isinstance(node.args[1], fx.Node):
        size, error = walk.argument(node)
        return unknown_size(size.channels), error
    (size, error), (other, more) = walk.argument(node, 0), walk.argument(node, 1)
    if size.channels != other.channels:
        raise BoundError(f"The output bound has no rule for broadcast channels ({node.name}).")
    return size_of_peak(size.peak + other.peak), error + more


def multiply(node: fx.Node, walk: Walk) -> Known:
    """Bound a product with a number, or of two bounded values: ``x y - xhat yhat = (x - xhat) y + xhat (y - yhat)``."""
    factor = node.args[1]
    size, error = walk.argument(node)
    if isinstance(factor, int | float):
        factor = abs(factor) if operator(node) == "mul" else 1 / abs(factor)
        return size_of_peak(size.peak * factor), scaled(error, factor)
    other, more = walk.argument(node, 1)
    if operator(node) != "mul" or size.channels != other.channels:
        raise BoundError(f"The output bound has no rule for {node.target} of two values ({node.name}).")
    kind: Kind = "proven"
    peaks = (size.peak, other.peak)
    if walk.observed is not None:
        seen = walk.observed.factors[node.name]
        if any(bool((found < peak).any()) for found, peak in zip(seen, peaks, strict=True)):
            kind, peaks = "estimated", (torch.minimum(peaks[0], seen[0]), torch.minimum(peaks[1], seen[1]))
    for own, against in ((error, peaks[1]), (more, peaks[0])):
        if own and not bool(torch.isfinite(against).all()):
            raise BoundError(f"Nothing bounds the factors of {node.name}: the output bound needs a normalisation before them.")
    walk.note(node, "largest factor", float(torch.cat(peaks).max()), kind)
    return size_of_peak(size.peak * other.peak), weighted(error, peaks[1]) + weighted(more, peaks[0])


def part(node: fx.Node, walk: Walk) -> Known:
    """Bound some of the channels: one of the values of a split along them."""
    source, which = node.args[0], node.args[1]
    assert isinstance(source, fx.Node)
    assert isinstance(which, int)
    if operator(source) not in SPLITS:
        raise BoundError(f"The output bound has no rule for {source.target} ({source.name}).")
    size, error = walk.argument(source)
    axis = channel_axis(node)
    widths = [value.shape[axis] for value in source.meta["val"]]
    if sum(widths) != size.channels:
        raise BoundError(f"The output bound has a rule for splitting the channels only ({source.name}).")
    some = slice(sum(widths[:which]), sum(widths[: which + 1]))
    kept = Size(size.axes[some], size.radius, size.offset[some], size.peak[some])
    return kept, tuple(Term(term.source, term.axes[some], term.value) for term in error)


SPLITS = frozenset({"chunk", "split", "split_with_sizes"})
"""Operators that return several values; each is bounded where it is taken out."""


RULES: Mapping[str, Rule] = {
    **dict.fromkeys(("transpose", "permute", "contiguous", "clone", "dropout", "alias", "detach", "to", "_to_copy"), unchanged),
    "flip": flip,
    "embedding": embedding,
    **dict.fromkeys(constants.ACTIVATIONS, activation),
    "mean": mean,
    "linear": linear,
    "conv1d": linear,
    "glu": glu,
    "layer_norm": layer_norm,
    "add": add,
    "sub": add,
    "mul": multiply,
    "div": multiply,
    str(getitem): part,
    BANK: bank,
    MIMO: mimo,
}
