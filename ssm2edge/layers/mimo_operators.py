"""The operators of our torch domain for systems of many inputs and outputs; what they are for is told in ``operators.py``."""

from __future__ import annotations

import torch
from torch import Tensor

from ssm2edge.layers.operators import DOMAIN
from ssm2edge.systems.real_form import swap_indices


def _run(
    u: Tensor,
    state: Tensor,
    a: Tensor,
    b: Tensor,
    matrices: tuple[Tensor, Tensor, Tensor],
    factors: Tensor | None,
    mixing: Tensor | None,
) -> tuple[Tensor, Tensor]:
    swap = swap_indices(a.shape[-1])
    a, b, x = a.double(), b.double(), state.double()
    B, C, D = (matrix.double() for matrix in matrices)
    samples = u.double()
    outputs = []
    for k in range(u.shape[1]):
        sample = samples[:, k]
        y = x @ C.mT + sample @ D.mT
        if factors is not None and mixing is not None:
            y = y + (x @ factors.double().mT).square() @ mixing.double().mT
        outputs.append(y)
        x = a * x + b * x[:, swap] + sample @ B.mT
    y = torch.stack(outputs, dim=1) if outputs else samples.new_zeros(*u.shape[:2], len(C))
    return y.to(u.dtype), x.to(u.dtype).contiguous()


@torch.library.custom_op(f"{DOMAIN}::mimo", mutates_args=())
def mimo(
    u: Tensor,
    a: Tensor,
    b: Tensor,
    input: Tensor,
    output: Tensor,
    feedthrough: Tensor,
    factors: Tensor | None,
    mixing: Tensor | None,
) -> Tensor:
    """Filter whole sequences with one system of many inputs and outputs, from zero states.

    Parameters
    ----------
    u
        ``(batch, time, inputs)``.
    a, b, input, output, feedthrough, factors, mixing
        See :class:`ssm2edge.systems.mimo_form.MimoSections`; the last two are None for linear outputs.

    Returns
    -------
    Tensor
        ``(batch, time, outputs)``.
    """
    state = u.new_zeros(u.shape[0], a.shape[-1])
    return _run(u, state, a, b, (input, output, feedthrough), factors, mixing)[0]


@mimo.register_fake
def _(
    u: Tensor,
    a: Tensor,
    b: Tensor,
    input: Tensor,
    output: Tensor,
    feedthrough: Tensor,
    factors: Tensor | None,
    mixing: Tensor | None,
) -> Tensor:
    return u.new_empty(u.shape[0], u.shape[1], output.shape[0])


@torch.library.custom_op(f"{DOMAIN}::mimo_block", mutates_args=())
def mimo_block(
    u: Tensor,
    state: Tensor,
    a: Tensor,
    b: Tensor,
    input: Tensor,
    output: Tensor,
    feedthrough: Tensor,
    factors: Tensor | None,
    mixing: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Filter one block of samples and carry the state.

    Parameters
    ----------
    u
        ``(batch, block, inputs)``.
    state
        ``(batch, order)``, the states before the block.
    a, b, input, output, feedthrough, factors, mixing
        As in :func:`mimo`.

    Returns
    -------
    tuple of Tensor
        Outputs ``(batch, block, outputs)`` and the states after the block.
    """
    return _run(u, state, a, b, (input, output, feedthrough), factors, mixing)


@mimo_block.register_fake
def _(
    u: Tensor,
    state: Tensor,
    a: Tensor,
    b: Tensor,
    input: Tensor,
    output: Tensor,
    feedthrough: Tensor,
    factors: Tensor | None,
    mixing: Tensor | None,
) -> tuple[Tensor, Tensor]:
    return (
        u.new_empty(u.shape[0], u.shape[1], output.shape[0]),
        torch.empty_like(state, memory_format=torch.contiguous_format),
    )
