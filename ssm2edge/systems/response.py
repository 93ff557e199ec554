"""Responses of systems: in time, in frequency, and to a given input."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ssm2edge.systems.system import System


def pole_sequences(poles: Tensor, length: int) -> Tensor:
    """Return ``poles^k`` for k < length, ``(*batch, n, length)``, by doubling, so that a power costs log2(length) roundings."""
    powers, factor = torch.ones_like(poles)[..., None], poles[..., None]
    while powers.shape[-1] < length:
        powers = torch.cat((powers, powers * factor), dim=-1)
        factor = factor * factor
    return powers[..., :length]


def impulse_response(system: System, length: int) -> Tensor:
    """Return ``D, C B, C A B, ...``, real, ``(*batch, p, m, length)`` float64 (the linear part, where outputs are quadratic).

    Raises
    ------
    ValueError
        If the length is not positive.
    """
    if length < 1:
        raise ValueError(f"an impulse response has at least one sample, not {length}.")
    system = system.paper_form()
    powers = pole_sequences(system.poles, length - 1) if length > 1 else system.poles.new_zeros((*system.poles.shape, 0))
    if system.is_siso:
        later = (system.residues[..., None, :] @ powers).real[..., None, :, :]
    else:
        later = torch.einsum("...pn,...nm,...nk->...pmk", system.C, system.B, powers).real
    return torch.cat((system.D[..., None], later), dim=-1)


def channel_responses(system: System, length: int) -> Tensor:
    """Return the impulse responses of a bank of SISO channels, ``(*batch, length)`` float64, in little memory.

    Rounding is that of products of matrices: where a difference cancels exactly, :func:`impulse_response` says so.
    """
    return torch.cat((system.D[..., 0], siso_taps(system.poles, system.residues, length - 1)), dim=-1)


def siso_taps(poles: Tensor, residues: Tensor, length: int) -> Tensor:
    """Return ``Re sum_i residue_i pole_i^k``, k < length, without a table of all powers, to the rounding of products of matrices.

    Parameters
    ----------
    poles, residues
        ``(*batch, n)`` complex128.

    Returns
    -------
    Tensor
        ``(*batch, length)`` float64.
    """
    block = max(1, math.isqrt(length))
    inner = pole_sequences(poles, block)
    # The last power of a block times the pole is the step from block to block.
    outer = residues[..., None] * pole_sequences(inner[..., -1] * poles, -(-length // block))
    left, right = torch.cat((outer.real, -outer.imag), dim=-2), torch.cat((inner.real, inner.imag), dim=-2)
    return (left.mT @ right).flatten(-2)[..., :length]


def frequency_response(system: System, frequencies: Tensor) -> Tensor:
    """Return ``D + C (e^{iw} - A)^-1 B``.

    Parameters
    ----------
    frequencies
        ``(F,)`` or ``(*batch, F)`` float64, in radians per sample.

    Returns
    -------
    Tensor
        ``(*batch, p, m, F)`` complex128.
    """
    system = system.paper_form()
    z = torch.exp(1j * frequencies.to(torch.float64))
    resolvent = 1 / (z[..., None, :] - system.poles[..., :, None])
    if system.is_siso:
        dynamic = (system.residues[..., None, :] @ resolvent)[..., None, :, :]
    else:
        dynamic = torch.einsum("...pn,...nm,...nf->...pmf", system.C, system.B, resolvent)
    return system.D[..., None] + dynamic


def simulate(system: System, inputs: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Run the recurrence sample by sample, quadratic outputs included: the reference every lowering is compared with.

    Parameters
    ----------
    inputs
        ``(*batch, m, length)`` float64; leading dimensions broadcast against the system's batch.
    state
        ``(*batch, n)`` complex128 modal state before the first sample; zero by default.

    Returns
    -------
    outputs, state
        ``(*batch, p, length)`` float64 and the modal state after the last sample.
    """
    system = system.paper_form()
    B, C, D, M = system.B, system.C, system.D, system.M
    if state is None:
        state = torch.zeros_like(system.poles) + torch.zeros((*inputs.shape[:-2], 1), dtype=torch.complex128)
    outputs = []
    for u in inputs.unbind(-1):
        y = (C @ state[..., None])[..., 0].real + (D @ u[..., None])[..., 0]
        if M is not None:
            y = y + torch.einsum("...i,...pij,...j->...p", state, M, state).real
        outputs.append(y)
        state = system.poles * state + (B @ u.to(B)[..., None])[..., 0]
    return torch.stack(outputs, dim=-1), state
