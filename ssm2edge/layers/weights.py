"""Stored weights of layers, in the precision of systems."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from ssm2edge.layers.contract import LayerError


def as_complex(stored: Tensor) -> Tensor:
    """Return a complex parameter, or a real one whose last axis is (real, imaginary), as complex128 on the CPU."""
    value = stored.cpu()
    return value.to(torch.complex128) if value.is_complex() else torch.view_as_complex(value.double().contiguous())


def check_finite(weights: Iterable[tuple[str, Tensor]]) -> None:
    """Check the stored tensors of a layer, name by name.

    Raises
    ------
    LayerError
        If a tensor holds NaN or infinite values.
    """
    for name, value in weights:
        if not bool(torch.isfinite(torch.view_as_real(value) if value.is_complex() else value).all()):
            raise LayerError(f"its parameter {name} holds NaN or infinite values; give weights of a finished training.")
