"""Quadratic outputs as squares of linear ones: ``y_i = ... + sum_k W_ik z_k^2`` with ``z = H u`` linear, H reading the states.

So a layer with quadratic outputs is a linear one with more outputs, squares, and a matrix.  What is left of the forms, at most
the rounding of a model in float32, is bounded by ``||R_i|| ||x||^2``.

The squares of an original and of a reduced layer come in any order, scale and sign.  Lined up, those that stand for the same make
``W z^2 - What zhat^2`` small term by term.  How they are lined up changes the sharpness of a bound, not its truth.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ssm2edge.systems.dense import real_basis, to_dense, with_real_coefficients
from ssm2edge.systems.division import relative
from ssm2edge.systems.gramians import mixed_gramian
from ssm2edge.systems.quadratic import squares_of
from ssm2edge.systems.system import System


@dataclass(frozen=True, eq=False)
class Squares:
    """The quadratic outputs of one system.

    Attributes
    ----------
    factors
        H: from the inputs to what is squared, q outputs.
    mixing
        W, ``(outputs, q)`` float64.
    remainder
        ``(sum_i ||R_i||^2)^(1/2)``.
    states
        From the inputs to the states on which the forms R_i act.
    """

    factors: System
    mixing: Tensor
    remainder: float
    states: System


def squares_in(system: System) -> Squares:
    """Write the quadratic outputs of one system, of batch shape ``()``, as squares."""
    system = with_real_coefficients(system)
    dense = to_dense(system)
    if dense.M is None:
        dense = replace(dense, M=dense.C.new_zeros(system.outputs, system.order, system.order))
    assert dense.M is not None
    # States of unit variance under white inputs, as squares_of asks for.
    variance = dense.B.square().sum(-1) / (1 - system.poles.abs().square())
    scale = torch.where(variance > 0, variance, torch.ones_like(variance)).sqrt()
    forms = scale[:, None] * dense.M * scale
    V, W = squares_of(forms)
    remainder = forms - torch.einsum("pq,qi,qj->pij", W, V, V)
    states = _reading(system, real_basis(system.poles) / scale[:, None])
    return Squares(
        factors=_reading(system, V.to(states.C) @ states.C),
        mixing=W,
        remainder=float(torch.linalg.matrix_norm(remainder, 2).norm()),
        states=states,
    )


def _reading(system: System, C: Tensor) -> System:
    """Return the same states with other linear outputs, before the sample."""
    return System(system.poles, system.B, C, torch.zeros(len(C), system.inputs, dtype=torch.float64))


def line_up(one: Squares, other: Squares, horizon: int | None) -> tuple[Squares, Squares]:
    """Bring squares of two systems into one order, scale and sign; a square that has no counterpart gets zero.

    Parameters
    ----------
    one, other
        Squares; those of ``one`` keep their scale.
    horizon
        Taps on which the squared signals are compared.
    """
    inner = (one.factors.C @ mixed_gramian(one.factors, other.factors, horizon) @ other.factors.C.mH).real
    sizes, other_sizes = (
        (s.C @ mixed_gramian(s, s, horizon) @ s.C.mH).diagonal().real.clamp_min(0).sqrt() for s in (one.factors, other.factors)
    )
    weights = one.mixing.mT @ other.mixing
    of_weights = one.mixing.norm(dim=0)[:, None] * other.mixing.norm(dim=0)
    alike = relative(weights, of_weights) * relative(inner, sizes[:, None] * other_sizes).square()
    rows, columns = (torch.from_numpy(x) for x in linear_sum_assignment(-alike.numpy()))
    paired = alike[rows, columns] > 0
    rows, columns = rows[paired], columns[paired]
    scale = (weights[rows, columns] / one.mixing[:, rows].square().sum(0)).sqrt()
    signs = torch.where(inner[rows, columns] < 0, -1.0, 1.0)
    alone = [i for i in range(len(sizes)) if i not in rows.tolist()]
    other_alone = [i for i in range(len(other_sizes)) if i not in columns.tolist()]
    C, other_C = one.factors.C, other.factors.C
    # With a factor of zero the weight does not matter: that of the counterpart makes the weights' difference zero.
    return _with(
        one,
        torch.cat((C[rows], C[alone], C.new_zeros(len(other_alone), C.shape[1]))),
        torch.cat((one.mixing[:, rows], one.mixing[:, alone], other.mixing[:, other_alone]), dim=1),
    ), _with(
        other,
        torch.cat(((scale * signs)[:, None] * other_C[columns], C.new_zeros(len(alone), other_C.shape[1]), other_C[other_alone])),
        torch.cat((other.mixing[:, columns] / scale.square(), one.mixing[:, alone], other.mixing[:, other_alone]), dim=1),
    )


def _with(squares: Squares, C: Tensor, mixing: Tensor) -> Squares:
    return replace(squares, factors=_reading(squares.factors, C), mixing=mixing)
