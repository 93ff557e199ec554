"""The Hankel nuclear norm regulariser (Forgione, Mejari and Piga, arXiv 2403.14833; Schwerdtner et al., arXiv 2510.22951).

The nuclear norm of a system's Hankel operator is the sum of its Hankel singular values, ``tr (P Q)^1/2``.  With the balancing
projectors T and W, of which ``T^T Q T = W^T P W`` is the diagonal of these values, its derivative is

    d tr (P Q)^1/2 = tr (T T^T dQ + W W^T dP) / 2

so that ``tr (T^T Q T + W^T P W) / 2`` with T and W held fixed has both its value and its derivatives.  No decomposition is
differentiated, and values that meet do no harm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral

import torch
from torch import Tensor, nn

from ssm2edge.errors import UserError
from ssm2edge.layers import differentiable_systems
from ssm2edge.reduction.balanced import balancing_projectors
from ssm2edge.systems.dense import section_has_pair
from ssm2edge.systems.gramians import controllability_gramian, observability_gramian
from ssm2edge.systems.real_coordinates import real_rows, swapped
from ssm2edge.systems.system import System, concatenate

LEAST = 1e-7
"""Singular values below this share of the largest one are zero to the rounding of the Gramians' roots."""


def hankel_nuclear_norm(model: nn.Module, horizon: int | None = None) -> Tensor:
    """Return the mean Hankel singular value of each layer, summed over the layers: a term of a training's loss.

    The mean is over the states, and over the channels of a bank.

    Parameters
    ----------
    model
        With layers of a known library, not reduced yet.
    horizon
        Taps on which the operator is taken; None for the infinite horizon, on which every layer must be stable.

    Raises
    ------
    LayerError
        If there are no layers, or one is read without derivatives.
    UserError
        If the horizon is no number of taps, or a layer is not stable on the infinite horizon.

    Examples
    --------
    >>> loss = loss + 1e-2 * hankel_nuclear_norm(model)  # doctest: +SKIP
    """
    if horizon is not None:
        # Numbers of numpy are numbers; True is none.
        if isinstance(horizon, bool) or not isinstance(horizon, Integral) or horizon < 1:
            raise UserError(
                f"A horizon of {horizon!r} is no number of taps; "
                "give a whole one of at least 1, or None for the infinite horizon."
            )
        horizon = int(horizon)
    alike: dict[tuple[int, int, int, bool], list[System]] = {}
    for name, system in differentiable_systems(model).items():
        if horizon is None and not float(system.poles.detach().abs().max()) < 1:
            raise UserError(
                f"Layer {name or '(the model)'} is not stable, and its Hankel singular values are infinite; keep its poles "
                "inside the unit circle, or give a horizon."
            )
        # What is reduced of a layer that reads the state after the sample is C A^k B, too, without the sample of delay.
        bank = replace(system, tie=None, after_sample=False).reshaped(-1)
        alike.setdefault((bank.order, bank.inputs, bank.outputs, bank.M is None), []).append(bank)
    total = torch.stack([_means(systems, horizon).sum() for systems in alike.values()]).sum()
    return total.to(next(model.parameters()).device)


def _means(layers: Sequence[System], horizon: int | None) -> Tensor:
    """Return the mean singular value of each of some layers of equal shapes, ``(layers,)``."""
    sums = hankel_sums(concatenate(layers), horizon) / layers[0].order
    return torch.stack([part.mean() for part in torch.split(sums, [len(layer.poles) for layer in layers])])


def hankel_sums(system: System, horizon: int | None = None) -> Tensor:
    """Return the sum of the Hankel singular values of each system, ``(*batch,)`` float64, differentiable.

    Parameters
    ----------
    system
        Stable, if the horizon is infinite.
    horizon
        Taps, or None for the infinite horizon.
    """
    paired = _conjugates(system)
    P, Q = (_real(gramian(system, horizon), paired) for gramian in (controllability_gramian, observability_gramian))
    with torch.no_grad():
        T, W = balancing_projectors(P, Q, system.order)
        values = (Q @ T * T).sum(-2)
        # A state that nothing reaches or reads has the value zero, where the norm has a kink: zero is one of its slopes.
        heard = values > LEAST * values.amax(-1, keepdim=True)
        T, W = T * heard[..., None, :], W * heard[..., None, :]
    return ((Q @ T * T).sum((-2, -1)) + (P @ W * W).sum((-2, -1))) / 2


def _conjugates(system: System) -> Tensor:
    """Return the states that are conjugates of each other, ``(*batch, n)`` bool.

    A stored mode of zero frequency stays one: its frequency may be trained, and its coefficients are complex.
    """
    B, C = system.B.mT, system.C
    alike = (swapped(B).conj() == B).all(-2) & (swapped(C).conj() == C).all(-2)
    return (system.poles.imag != 0) | (section_has_pair(system.poles) & alike)


def _real(gramian: Tensor, paired: Tensor) -> Tensor:
    """Return ``U gramian U^H``, real, with U of ``real_coordinates.py``."""
    return real_rows(real_rows(gramian, paired).mH, paired).real
