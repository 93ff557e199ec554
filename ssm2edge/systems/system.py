"""The value every room passes on: a batch of discrete-time systems in modal form.

    x[k+1] = diag(poles) x[k] + B u[k]
    y_i[k] = C_i x[k] + D_i u[k]  (+ x[k]^T M_i x[k] where the system has quadratic outputs)

One class holds all kinds.  A bank of H single-input single-output channels has batch shape ``(H,)`` and one input and output;
a MIMO block has batch shape ``()``; banks of several layers stack to ``(layers, H)``.  Quadratic outputs are the optional ``M``.

The poles are closed under complex conjugation, so that the impulse response is real and ``order`` counts real states.  They
stand in canonical order: conjugate pairs first, each as (pole with positive imaginary part, its conjugate), then real poles.
Positions 2i and 2i + 1 therefore always form one real 2 x 2 section.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ssm2edge.systems.tie import Tie


@dataclass(frozen=True, eq=False)
class System:
    """Batch of linear time-invariant (LTI) or linear-quadratic-output (LQO) systems in modal form.

    Attributes
    ----------
    poles
        ``(*batch, n)`` complex128, closed under conjugation, in canonical order.
    B
        ``(*batch, n, m)`` complex128, modal input matrix.
    C
        ``(*batch, p, n)`` complex128, modal output matrix.
    D
        ``(*batch, p, m)`` float64, feedthrough: the impulse response at time 0.
    M
        None, or ``(*batch, p, n, n)`` complex128 with symmetric (not Hermitian) slices: quadratic outputs in modal coordinates.
    tie
        What the poles of a bank of SISO channels follow from, where they do not stand for themselves: the same in fewer numbers.
        Selections and joints of systems have none.

    Notes
    -----
    The paper form above emits ``y[k] = C x[k]``; many codes emit ``C x[k+1]``.  Such a layer with matrices ``C', D'`` is the
    system with ``C = C' diag(poles)`` and ``D = D' + C' B``.
    """

    poles: Tensor
    B: Tensor
    C: Tensor
    D: Tensor
    M: Tensor | None = None
    tie: Tie | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        batch, n = self.poles.shape[:-1], self.poles.shape[-1]
        p, m = self.D.shape[-2:]
        expected = {"B": (*batch, n, m), "C": (*batch, p, n), "D": (*batch, p, m)}
        if self.M is not None:
            expected["M"] = (*batch, p, n, n)
        for name, shape in expected.items():
            actual = tuple(getattr(self, name).shape)
            if actual != shape:
                raise ValueError(f"{name} has shape {actual}, but poles {tuple(self.poles.shape)} ask for {shape}.")
        for name in ("poles", "B", "C", "M"):
            value = getattr(self, name)
            if value is not None and value.dtype != torch.complex128:
                raise TypeError(f"{name} is {value.dtype}; systems are complex128, cast last.")
        if self.tie is not None and (self.tie.channels, self.tie.order) != tuple(self.poles.shape):
            raise ValueError(
                f"poles {tuple(self.poles.shape)} cannot follow from {self.tie.order} for {self.tie.channels} channels."
            )
        if self.D.dtype != torch.float64:
            raise TypeError(f"D is {self.D.dtype}; systems are float64, cast last.")

    @property
    def batch_shape(self) -> torch.Size:
        """Shape of the batch of independent systems."""
        return self.poles.shape[:-1]

    @property
    def order(self) -> int:
        """Number of real states of each system."""
        return self.poles.shape[-1]

    @property
    def inputs(self) -> int:
        """Number of inputs m of each system."""
        return self.D.shape[-1]

    @property
    def outputs(self) -> int:
        """Number of outputs p of each system."""
        return self.D.shape[-2]

    @property
    def is_siso(self) -> bool:
        """Whether each system has one input and one output."""
        return self.inputs == 1 and self.outputs == 1

    @property
    def residues(self) -> Tensor:
        """Residues ``C_j B_j`` of SISO systems, ``(*batch, n)``: at k >= 1 the response is ``sum_j residue_j pole_j^(k-1)``."""
        if not self.is_siso:
            raise ValueError("only SISO systems have scalar residues.")
        return self.C[..., 0, :] * self.B[..., :, 0]

    def __getitem__(self, index: Any) -> System:
        """Select systems of the batch."""
        chosen = {name: getattr(self, name)[index] for name in ("poles", "B", "C", "D")}
        return System(**chosen, M=None if self.M is None else self.M[index])

    def with_output(self, C: Tensor, D: Tensor) -> System:
        """Return the same dynamics with another output map and feedthrough."""
        return replace(self, C=C, D=D)


def from_conjugate_half(poles: Tensor, B: Tensor, C: Tensor, D: Tensor) -> System:
    """System of which only one pole of each conjugate pair is stored: ``y = 2 Re(C x) + D u`` (S4D, DSS, S5 with conj_sym).

    Parameters
    ----------
    poles, B, C
        ``(*batch, n / 2)``, ``(*batch, n / 2, m)``, ``(*batch, p, n / 2)``, complex.
    D
        ``(*batch, p, m)``, real.

    Returns
    -------
    System
        Of order n.
    """
    upper = poles.imag >= 0
    poles, B, C = (x.to(torch.complex128) for x in (poles, B, C))
    poles = torch.where(upper, poles, poles.conj())
    B = torch.where(upper[..., :, None], B, B.conj())
    C = torch.where(upper[..., None, :], C, C.conj())
    return System(
        poles=torch.stack((poles, poles.conj()), dim=-1).flatten(-2),
        B=torch.stack((B, B.conj()), dim=-2).flatten(-3, -2),
        C=torch.stack((C, C.conj()), dim=-1).flatten(-2),
        D=D.to(torch.float64),
    )


def from_real_part(poles: Tensor, B: Tensor, C: Tensor, D: Tensor) -> System:
    """System with ``y = Re(C x) + D u`` (LRU, S5 without conj_sym); shapes as in :func:`from_conjugate_half`."""
    return from_conjugate_half(poles, B, C / 2, D)


def siso_bank(poles: Tensor, residues: Tensor, feedthrough: Tensor) -> System:
    """Bank of SISO channels from poles and residues.

    Parameters
    ----------
    poles, residues
        ``(*batch, n)`` complex128, closed under conjugation together, in canonical order.
    feedthrough
        ``(*batch,)`` float64.
    """
    return System(poles=poles, B=torch.ones_like(poles)[..., None], C=residues[..., None, :], D=feedthrough[..., None, None])


def stack(systems: list[System]) -> System:
    """Stack systems of equal shapes along a new leading batch axis (the layers of a network)."""
    poles, B, C, D = (torch.stack([getattr(s, name) for s in systems]) for name in ("poles", "B", "C", "D"))
    quadratic = [s.M for s in systems if s.M is not None]
    if quadratic and len(quadratic) != len(systems):
        raise ValueError("systems with and without quadratic outputs cannot be stacked.")
    return System(poles, B, C, D, M=torch.stack(quadratic) if quadratic else None)


def concatenate(systems: list[System]) -> System:
    """Join batches of systems along their first batch axis (banks of several layers into one long bank)."""
    poles, B, C, D = (torch.cat([getattr(s, name) for s in systems]) for name in ("poles", "B", "C", "D"))
    quadratic = [s.M for s in systems if s.M is not None]
    if quadratic and len(quadratic) != len(systems):
        raise ValueError("systems with and without quadratic outputs cannot be joined.")
    return System(poles, B, C, D, M=torch.cat(quadratic) if quadratic else None)
