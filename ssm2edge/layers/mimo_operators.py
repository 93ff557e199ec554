"""The operators of our own torch domain for systems of many inputs and outputs; see ``operators.py``."""

from __future__ import annotations

import torch
from torch import Tensor

from ssm2edge.layers.operators import DOMAIN
from ssm2edge.systems.mimo_form import MimoSections
from ssm2edge.systems.real_coordinates import swap_indices

COEFFICIENTS = (
    "Tensor a, Tensor b, Tensor input, Tensor output, Tensor? feedthrough, Tensor? factors, Tensor? mixing, str form='', "
    "str layer=''"
)
"""Arguments of both operators behind their signals: what :class:`ssm2edge.systems.mimo_form.MimoSections` holds, in order, and
what a user says about how a graph computes it (:mod:`ssm2edge.lowering.choice`) and the layer that calls it; the values are the
same."""

MATRICES = 7
"""Number of those that are the system's."""


def _run(u: Tensor, state: Tensor, system: MimoSections) -> tuple[Tensor, Tensor]:
    swap = swap_indices(system.a.shape[-1])
    a, b, x = system.a.double(), system.b.double(), state.double()
    B, C = system.input.double(), system.output.double()
    D = None if system.feedthrough is None else system.feedthrough.double()
    samples = u.double()
    outputs = []
    for k in range(u.shape[1]):
        sample = samples[:, k]
        following = a * x + b * x[:, swap] + sample @ B.mT
        y = (following if system.after_sample else x) @ C.mT
        if D is not None:
            y = y + (D * sample if system.after_sample else sample @ D.mT)
        if system.factors is not None and system.mixing is not None:
            y = y + (x @ system.factors.double().mT).square() @ system.mixing.double().mT
        outputs.append(y)
        x = following
    y = torch.stack(outputs, dim=1) if outputs else samples.new_zeros(*u.shape[:2], len(C))
    return y.to(u.dtype), x.to(u.dtype).contiguous()


def _empty(u: Tensor, system: MimoSections) -> Tensor:
    return u.new_empty(u.shape[0], u.shape[1], system.output.shape[0])


@torch.library.custom_op(f"{DOMAIN}::mimo", mutates_args=(), schema=f"(Tensor u, {COEFFICIENTS}) -> Tensor")
def mimo(u: Tensor, *coefficients: Tensor) -> Tensor:
    """Filter whole sequences with one system of many inputs and outputs, from zero states.

    Parameters
    ----------
    u
        ``(batch, time, inputs)``.
    *coefficients
        See ``COEFFICIENTS``; factors and mixing are None for linear outputs, the feedthrough where there is none.

    Returns
    -------
    Tensor
        ``(batch, time, outputs)``.
    """
    system = MimoSections(*coefficients[:MATRICES])
    return _run(u, u.new_zeros(u.shape[0], system.a.shape[-1]), system)[0]


@mimo.register_fake
def _(u: Tensor, *coefficients: Tensor) -> Tensor:
    return _empty(u, MimoSections(*coefficients[:MATRICES]))


@mimo.register_vmap
def _(info: object, in_dims: tuple[int | None, ...], u: Tensor, *coefficients: Tensor) -> tuple[Tensor, int]:
    """Filter sequences that the user maps a layer over: they are a batch."""
    if in_dims[0] is None or any(axis is not None for axis in in_dims[1:]):
        raise NotImplementedError("a system is mapped over sequences only.")
    sequences = u.movedim(in_dims[0], 0)
    y: Tensor = mimo(sequences.flatten(0, 1), *coefficients)
    return y.reshape(*sequences.shape[:2], *y.shape[1:]), 0


@torch.library.custom_op(
    f"{DOMAIN}::mimo_block", mutates_args=(), schema=f"(Tensor u, Tensor state, {COEFFICIENTS}) -> (Tensor, Tensor)"
)
def mimo_block(u: Tensor, state: Tensor, *coefficients: Tensor) -> tuple[Tensor, Tensor]:
    """Filter one block of samples and carry the state.

    Parameters
    ----------
    u
        ``(batch, block, inputs)``.
    state
        ``(batch, order)``, the states before the block.
    *coefficients
        As in :func:`mimo`.

    Returns
    -------
    tuple of Tensor
        Outputs ``(batch, block, outputs)`` and the states after the block.
    """
    return _run(u, state, MimoSections(*coefficients[:MATRICES]))


@mimo_block.register_fake
def _(u: Tensor, state: Tensor, *coefficients: Tensor) -> tuple[Tensor, Tensor]:
    return _empty(u, MimoSections(*coefficients[:MATRICES])), torch.empty_like(state, memory_format=torch.contiguous_format)
