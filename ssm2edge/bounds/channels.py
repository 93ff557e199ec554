"""The channel axis of traced values, along which bounds are followed."""

from __future__ import annotations

import torch
from torch import Tensor, fx

from ssm2edge.bounds.errors import BoundError


def channel_axis(node: fx.Node) -> int:
    """Return the axis that is neither batch nor time: the only one of fixed size."""
    value = node.meta.get("val")
    if not isinstance(value, Tensor):
        raise BoundError(f"The output bound follows single tensors only ({node.name} is none).")
    fixed = [axis for axis, size in enumerate(value.shape) if not isinstance(size, torch.SymInt)]
    if len(fixed) != 1:
        raise BoundError(f"The output bound needs values with one channel axis; {node.name} has shape {tuple(value.shape)}.")
    return fixed[0]
