"""The coefficients of reduced layers in 8 and 16 bits, where the layer stays what it is.

A pole near the unit circle is all in its last bits: in 16 bits it needs coordinates of its own (``systems/coarse_poles.py``).
Maps into and out of the states are as robust as other matrices: states are scaled to unit variance (``systems/mimo_form.py``).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ssm2edge.layers import Block, ReducedBank, ReducedMimo
from ssm2edge.quantisation.grid import fits_half
from ssm2edge.quantisation.rounding import known_steps, nearest_of
from ssm2edge.systems.norms import h2_error, h2_norm
from ssm2edge.systems.stability import is_stable

UNKNOWN, LEAST, MOST, SHARE = 5e-3, 1e-3, 0.02, 0.25
"""Relative error of a layer's response that rounding may cost: where nothing is known of the outputs; at least; at most; and as a
share of their error after matching."""

MATRICES = ("input", "output", "feedthrough", "factors", "mixing")
"""Coefficients of a system of many inputs and outputs, beside its poles."""


def allowed_error(outputs: float | None) -> float:
    """Return the error that rounding may cost a layer, from that of the network's outputs; None if they were not matched."""
    return UNKNOWN if outputs is None else min(max(SHARE * outputs, LEAST), MOST)


def round_block(block: Block, horizon: int | None, allowed: float = UNKNOWN) -> None:
    """Round the coefficients of a block in place.

    Poles and output coefficients of banks take 16 bits, matrices of systems of many inputs and outputs 8, one after another.

    Parameters
    ----------
    block
        Of a reduced network.
    horizon
        Taps on which errors count.
    allowed
        Largest change of the response on the horizon, relative; coefficients whose rounding costs more stay as they are.
    """
    before = block.system()
    if horizon is None and not bool(is_stable(before).all()):
        return
    size = float(h2_norm(before, horizon).norm())

    def holds() -> bool:
        return float(h2_error(before, block.system(), horizon).norm()) <= allowed * size

    if isinstance(block, ReducedBank) and block.order % 2 == 0 and block.dynamics.dtype == torch.float32:
        block.coarse = True
        block.coarse = holds()
    names = MATRICES if isinstance(block, ReducedMimo) else ("output", "feedthrough") if isinstance(block, ReducedBank) else ()
    for name in names:
        parameter = getattr(block, name)
        if not isinstance(parameter, torch.nn.Parameter) or parameter.dtype != torch.float32:
            continue
        if fits_half(parameter.detach().numpy()) and not _is_grid(parameter):
            continue  # rounded before
        kept = parameter.detach().clone()
        integers = isinstance(block, ReducedMimo) and parameter.ndim == 2
        for rounded in [nearest_of(kept, 8), _half(kept)] if integers else [_half(kept)]:
            if rounded is not None:
                _write(parameter, rounded)
                if holds():
                    break
            _write(parameter, kept)


def _is_grid(parameter: Tensor) -> bool:
    return parameter.ndim == 2 and known_steps(parameter.detach().double(), 8) is not None


def _half(values: Tensor) -> Tensor | None:
    rounded = values.half().float()
    return rounded if bool(rounded.isfinite().all()) and fits_half(rounded.numpy()) else None


def _write(parameter: Tensor, values: Tensor) -> None:
    with torch.no_grad():
        parameter.copy_(values)
