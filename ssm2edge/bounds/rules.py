"""One rule per operator: from what is known of its arguments to what is known of its value.

A rule gets the node and the walk (what is known so far) and returns the size of the value, which holds for both networks, and the
error between the two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, fx

from ssm2edge.bounds import constants
from ssm2edge.bounds.constants import Constant, Kind
from ssm2edge.bounds.errors import BoundError
from ssm2edge.bounds.gains import Gains
from ssm2edge.bounds.observation import Observed
from ssm2edge.bounds.program import BANK, Network, operator
from ssm2edge.bounds.signals import (
    Error,
    Size,
    Term,
    flattened,
    mixed,
    scaled,
    size_of_peak,
    total,
    unknown_size,
    weighted,
)

Known = tuple[Size, Error]


@dataclass(frozen=True, eq=False)
class LayerGains:
    """Gains of one layer's bank: of the original, of the reduced one, and of the difference.

    Attributes
    ----------
    original, reduced
        Of the two banks.
    injected
        ``(channels,)`` gain from the root mean square of the input to that of the difference of the outputs.
    """

    original: Gains
    reduced: Gains
    injected: Tensor


@dataclass(eq=False)
class Walk:
    """What is known on the way through a network.

    Attributes
    ----------
    network
        The network.
    layers
        Gains by layer.
    observed
        What was seen on samples, or None where only proven constants may be used.
    capped
        Whether errors are cut at the diameter of what a normalisation can return; without, they are linear in each layer's error.
    known
        By node.
    constants
        What the result rests on.
    caps
        Nodes at which the cut took place.
    arriving, injected
        By layer: the error's norm before it, and of what its own reduction adds.
    """

    network: Network
    layers: Mapping[str, LayerGains]
    observed: Observed | None
    capped: bool
    known: dict[fx.Node, Known] = field(default_factory=dict)
    constants: list[Constant] = field(default_factory=list)
    caps: list[str] = field(default_factory=list)
    arriving: dict[str, float] = field(default_factory=dict)
    injected: dict[str, float] = field(default_factory=dict)

    def argument(self, node: fx.Node, position: int = 0) -> Known:
        """What is known of an argument that is a computed value."""
        argument = node.args[position]
        if not isinstance(argument, fx.Node) or argument not in self.known:
            raise BoundError(f"The output bound has no rule for {node.target} with constants in this place ({node.name}).")
        return self.known[argument]

    def weight(self, node: fx.Node, position: int) -> Tensor | None:
        """A weight among the arguments, float64; None where it was left out."""
        argument = node.args[position] if len(node.args) > position else None
        if argument is None:
            return None
        if not isinstance(argument, fx.Node) or argument not in self.network.weights:
            raise BoundError(f"The output bound has no rule for {node.target} with a computed weight ({node.name}).")
        return self.network.weights[argument].double()

    def note(self, node: fx.Node, what: str, value: float, kind: Kind) -> None:
        """Remember a constant, and its proof or the lack of it."""
        self.constants.append(Constant(node.name, what, value, kind))


Rule = Callable[[fx.Node, Walk], Known]


def channel_axis(node: fx.Node) -> int:
    """The axis that is neither batch nor time: the only one of fixed size."""
    value = node.meta.get("val")
    if not isinstance(value, Tensor):
        raise BoundError(f"The output bound follows single tensors only ({node.name} is none).")
    fixed = [axis for axis, size in enumerate(value.shape) if not isinstance(size, torch.SymInt)]
    if len(fixed) != 1:
        raise BoundError(f"The output bound needs values with one channel axis; {node.name} has shape {tuple(value.shape)}.")
    return fixed[0]


def unchanged(node: fx.Node, walk: Walk) -> Known:
    """Operators that only move values, and means over time, which shrink every norm used here."""
    source = node.args[0]
    assert isinstance(source, fx.Node)
    size, error = walk.argument(node)
    if node.meta["val"].shape[channel_axis(node)] != size.channels:
        raise BoundError(f"The output bound cannot follow the channels through {node.name}.")
    return size, error


def mean(node: fx.Node, walk: Walk) -> Known:
    """A mean over time."""
    source, axes = node.args[0], node.args[1]
    assert isinstance(source, fx.Node)
    assert isinstance(axes, list | tuple)
    rank = source.meta["val"].ndim
    if 0 in (axis % rank for axis in axes) or channel_axis(source) in (axis % rank for axis in axes):
        raise BoundError(f"The output bound has no rule for means over the batch or channels ({node.name}).")
    return walk.argument(node)


def linear(node: fx.Node, walk: Walk) -> Known:
    """``W x + b``: the error by the spectral norm of W, its columns weighted by the error's axes."""
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
    """A function of each number by itself."""
    name = operator(node)
    size, error = walk.argument(node)
    if name == "gelu" and node.kwargs.get("approximate", "none") != "none":
        raise BoundError(f"The output bound has a rule for the exact gelu only ({node.name} is approximated).")
    constant = constants.ACTIVATIONS[name]
    walk.note(node, f"Lipschitz constant of {name}", constant, "proven")
    reached = size.peak if name in constants.VANISHING_AT_ZERO else torch.ones_like(size.peak)
    return size_of_peak(torch.minimum(reached, torch.ones_like(reached)) if name == "tanh" else reached), scaled(error, constant)


def glu(node: fx.Node, walk: Walk) -> Known:
    """``a sigmoid(b)``: Lipschitz on a bounded set of a."""
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
    """``w (x - mean) / deviation + b``, with deviation = sqrt(variance + eps).

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


def bank(node: fx.Node, walk: Walk) -> Known:
    """``G u`` against ``Ghat uhat``: ``(G - Ghat) u + Ghat (u - uhat)``."""
    name = walk.network.layers[node]
    layer = walk.layers[name]
    size, error = walk.argument(node)
    injected = injection(node, name, layer.injected, size, walk)
    walk.arriving[name] = max(walk.arriving.get(name, 0.0), total(error))
    walk.injected[name] = max(walk.injected.get(name, 0.0), total(injected))
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
        walk.note(
            node, "largest input, at every step", float(size.axes.max()) * size.radius + float(size.offset.norm()), "proven"
        )
        parts.append((Term(name, ones, float((gain * size.peak).norm())),))
        shifted = (Term(name, ones, float((gain * size.offset).norm())),)
        parts.append((Term(name, gain * size.axes, size.radius), *shifted))
    if not parts:
        raise BoundError(
            f"Nothing bounds the inputs of layer {name or '(the model)'}: "
            "an output bound for all inputs needs a normalisation before it."
        )
    return min(parts, key=total)


def add(node: fx.Node, walk: Walk) -> Known:
    """A sum of two values, or of a value and a constant."""
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
    """A product with a number, or of two bounded values: ``x y - xhat yhat = (x - xhat) y + xhat (y - yhat)``."""
    factor = node.args[1]
    size, error = walk.argument(node)
    if isinstance(factor, int | float):
        factor = abs(factor) if operator(node) == "mul" else 1 / abs(factor)
        return size_of_peak(size.peak * factor), scaled(error, factor)
    other, more = walk.argument(node, 1)
    if operator(node) != "mul" or size.channels != other.channels:
        raise BoundError(f"The output bound has no rule for {node.target} of two values ({node.name}).")
    for one in (size, other):
        if not bool(torch.isfinite(one.peak).all()):
            raise BoundError(f"Nothing bounds the factors of {node.name}: the output bound needs a normalisation before them.")
    return size_of_peak(size.peak * other.peak), weighted(error, other.peak) + weighted(more, size.peak)


RULES: Mapping[str, Rule] = {
    **dict.fromkeys(("transpose", "permute", "contiguous", "clone", "dropout", "alias", "detach", "to", "_to_copy"), unchanged),
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
    BANK: bank,
}
