"""The operators of our own torch domain: what stays of an LTI block while a model is exported.

``torch.export`` keeps each call as one node, the streaming pass exchanges the whole-sequence operator for the block one, and the
export room writes both as nodes of ONNX.  The implementations here are the eager meaning of the nodes, used to run exported
programs in PyTorch; they follow the recurrence literally, in float64.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ssm2edge.systems.real_coordinates import swap_indices

DOMAIN = "ssm2edge"


def computed_in(u: Tensor) -> torch.dtype:
    """Return the precision in which a block filters an input: its own, or float32 for half precision, which has no FFT."""
    return torch.promote_types(u.dtype, torch.float32)


def in_float32(filtered: Callable[[Tensor], Tensor], u: Tensor) -> Tensor:
    """Filter in float32, the precision of the graphs, in a model that computes in another one."""
    return filtered(u) if u.dtype == torch.float32 else filtered(u.float()).to(u.dtype)


def _run(u: Tensor, state: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    swap = swap_indices(a.shape[-1])
    x = state.double().transpose(-1, -2)
    samples, a, b, c, d = u.double(), a.double(), b.double(), c.double(), d.double()
    outputs = []
    for k in range(u.shape[-1]):
        sample = samples[..., k]
        outputs.append((c * x).sum(-1) + d * sample)
        x = a * x + b * x[..., swap] + sample.unsqueeze(-1)
    y = torch.stack(outputs, dim=-1) if outputs else torch.zeros_like(samples)
    return y.to(u.dtype), x.transpose(-1, -2).to(u.dtype).contiguous()


@torch.library.custom_op(f"{DOMAIN}::siso_bank", mutates_args=())
def siso_bank(u: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor, form: str = "", layer: str = "") -> Tensor:
    """Filter whole sequences with a bank of SISO channels in unit-input real form, from zero states.

    Parameters
    ----------
    u
        ``(batch, channels, time)``.
    a, b, c
        ``(channels, order)``, see :class:`ssm2edge.systems.real_form.RealSections`.
    d
        ``(channels,)``.
    form
        The user's choice of the graph's kernel form (:mod:`ssm2edge.lowering.choice`); the values are the same.
    layer
        Name of the layer that calls it.

    Returns
    -------
    Tensor
        ``(batch, channels, time)``.
    """
    state = u.new_zeros(u.shape[0], a.shape[-1], a.shape[0])
    return _run(u, state, a, b, c, d)[0]


@siso_bank.register_fake
def _(u: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor, form: str = "", layer: str = "") -> Tensor:
    return torch.empty_like(u, memory_format=torch.contiguous_format)


@torch.library.custom_op(f"{DOMAIN}::siso_bank_block", mutates_args=())
def siso_bank_block(
    u: Tensor, state: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor, form: str = "", layer: str = ""
) -> tuple[Tensor, Tensor]:
    """Filter one block of samples and carry the state.

    Parameters
    ----------
    u
        ``(batch, channels, block)``.
    state
        ``(batch, order, channels)``, the states before the block.
    a, b, c, d, form, layer
        As in :func:`siso_bank`.

    Returns
    -------
    tuple of Tensor
        Outputs ``(batch, channels, block)`` and the states after the block.
    """
    return _run(u, state, a, b, c, d)


@siso_bank_block.register_fake
def _(
    u: Tensor, state: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor, form: str = "", layer: str = ""
) -> tuple[Tensor, Tensor]:
    return (
        torch.empty_like(u, memory_format=torch.contiguous_format),
        torch.empty_like(state, memory_format=torch.contiguous_format),
    )
