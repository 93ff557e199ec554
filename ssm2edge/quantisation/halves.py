"""Numbers that float16 holds: rounded once, and float32 tensors again."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

LARGEST_ERROR = 2.0**-11
"""Of a rounded number, relative to the largest of its tensor: one that float16 holds less well stays in float32."""


def halve(parameters: Iterable[Tensor]) -> None:
    """Round tensors to what float16 holds, in place, where all of their numbers are in its range."""
    with torch.no_grad():
        for parameter in parameters:
            rounded = parameter.half().to(parameter.dtype)
            size = parameter.abs().max() if parameter.numel() else torch.zeros(())
            if bool(((rounded - parameter).abs() <= LARGEST_ERROR * size).all()):
                parameter.copy_(rounded)
