"""Bounds on the inputs of a layer of many inputs and outputs, and on its outputs for them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, fx

from ssm2edge.bounds.errors import BoundError
from ssm2edge.bounds.matrix_gains import MatrixGains
from ssm2edge.bounds.signals import Size
from ssm2edge.bounds.walk import Walk

Inputs = tuple[tuple[Tensor, float], ...]
"""Inputs of a layer as a sum of ``S n``, with a bound on the root mean square of each n."""


def inputs_of(node: fx.Node, name: str, size: Size, walk: Walk) -> list[Inputs]:
    """Return the bounds on the inputs of a layer of many inputs and outputs, in one or several ways."""
    ways: list[Inputs] = []
    if walk.observed is not None:
        directions, levels = walk.observed.directions[node.name]
        walk.note(node, "largest input, root mean square", float(levels.norm()), "estimated")
        # u = Q n with |n_i| <= level_i: with any weights w, ||E u|| <= ||E Q diag(w)|| ||n / w||; for inputs along one direction
        # and for inputs alike in all, these weights are the best.
        ways.append(((directions * levels.sqrt(), float(levels.sum()) ** 0.5),))
    if bool(torch.isfinite(size.peak).all()):
        note_size(node, size, walk)
        ways.append(((torch.diag(size.axes), size.radius), (size.offset[:, None], 1.0)))
    if not ways:
        raise unbounded(name)
    return ways


def smallest_of(gain: Callable[[Tensor], float], ways: list[Inputs]) -> float:
    """Return the sharpest bound on the inputs behind a gain."""
    return min(sum(gain(shape) * level for shape, level in way) for way in ways)


def reached(gains: MatrixGains, size: Size) -> Tensor:
    """Return the largest magnitude of each output, ``(outputs,)``, for inputs of this size; infinity if nothing bounds them."""
    if not bool(torch.isfinite(size.peak).all()):
        return torch.full((gains.system.outputs,), torch.inf, dtype=torch.float64)
    together = gains.peaks(torch.diag(size.axes)) * size.radius + gains.peaks(size.offset[:, None])
    return torch.minimum(together, gains.magnitudes() @ size.peak)


def note_size(node: fx.Node, size: Size, walk: Walk) -> None:
    """Note the largest inputs of a layer."""
    walk.note(node, "largest input, at every step", float(size.axes.max()) * size.radius + float(size.offset.norm()), "proven")


def unbounded(name: str) -> BoundError:
    """Return the error for a layer whose inputs nothing bounds."""
    return BoundError(
        f"Nothing bounds the inputs of layer {name or '(the model)'}: "
        "an output bound for all inputs needs a normalisation before it."
    )
