"""The coefficients of reduced layers in 8 and 16 bits, where the layer stays what it is; poles stay float32.

A pole near the unit circle is all in its last bits.  Maps into and out of the states are as robust as other matrices: states are
scaled to unit variance (``systems/mimo_form.py``).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ssm2edge.layers import Block, ReducedBank, ReducedMimo
from ssm2edge.quantisation.grid import fits_half
from ssm2edge.quantisation.rounding import nearest_of
from ssm2edge.systems.norms import h2_error, h2_norm
from ssm2edge.systems.stability import is_stable

LARGEST_ERROR = 0.02
"""Of the layer's response on the horizon, relative: coefficients whose rounding costs more stay as they are."""

MATRICES = ("input", "output", "feedthrough", "factors", "mixing")
"""Coefficients of a system of many inputs and outputs, beside its poles."""


def round_block(block: Block, horizon: int | None) -> None:
    """Round the coefficients of a block in place.

    Matrices of systems of many inputs and outputs take 8 bits, output coefficients of banks float16, one after another.

    Parameters
    ----------
    block
        Of a reduced network.
    horizon
        Taps on which errors count.
    """
    before = block.system()
    if horizon is None and not bool(is_stable(before).all()):
        return
    size = float(h2_norm(before, horizon).norm())
    names = MATRICES if isinstance(block, ReducedMimo) else ("output", "feedthrough") if isinstance(block, ReducedBank) else ()
    for name in names:
        parameter = getattr(block, name)
        if not isinstance(parameter, torch.nn.Parameter) or parameter.dtype != torch.float32:
            continue
        kept = parameter.detach().clone()
        integers = isinstance(block, ReducedMimo) and parameter.ndim == 2
        for rounded in [nearest_of(kept, 8), _half(kept)] if integers else [_half(kept)]:
            if rounded is not None:
                _write(parameter, rounded)
                if float(h2_error(before, block.system(), horizon).norm()) <= LARGEST_ERROR * size:
                    break
            _write(parameter, kept)


def _half(values: Tensor) -> Tensor | None:
    rounded = values.half().float()
    return rounded if bool(rounded.isfinite().all()) and fits_half(rounded.numpy()) else None


def _write(parameter: Tensor, values: Tensor) -> None:
    with torch.no_grad():
        parameter.copy_(values)
