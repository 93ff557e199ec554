"""The value every room passes on: a batch of discrete-time systems in modal form.

    x[k+1] = diag(poles) x[k] + B u[k]
    y_i[k] = C_i x[k] + D_i u[k]  (+ x[k]^T M_i x[k] where the system has quadratic outputs)

Where ``after_sample`` is set, the linear outputs read the state after the sample instead, ``C x[k+1]``, as S5 and LRU layers do;
squares read ``x[k]`` in either form.

One class holds all kinds.  A bank of H single-input single-output channels has batch shape ``(H,)`` and one input and output;
a MIMO block has batch shape ``()``; banks of several layers stack to ``(layers, H)``.  Quadratic outputs are the optional ``M``.

The poles are closed under complex conjugation, so that the impulse response is real and ``order`` counts real states.  They
stand in canonical order: conjugate pairs first, each as (pole with positive imaginary part, its conjugate), then real poles.
Positions 2i and 2i + 1 therefore always form one real 2 x 2 section.  A System sorts poles itself where sections would split a
pair; the members of a pair are given one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ssm2edge.systems.tie import Tie, canonical_order, canonical_places

ARRAYS = ("poles", "B", "C", "D", "M")
"""Names of what :meth:`System.arrays` returns."""


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
        Fewer numbers that the poles of a bank of SISO channels follow from, or None.  Selections and joints have none.
    after_sample
        True if the linear outputs read ``C x[k+1]``.  Such systems have several inputs or outputs, and D is diagonal or zero.

    Notes
    -----
    Many codes emit ``C x[k+1]``.  With matrices ``C', D'`` that is the paper form above with ``C = C' diag(poles)`` and
    ``D = D' + C' B`` (:meth:`paper_form`).  That fills D: a SISO channel has one number anyway, but a layer of many inputs and
    outputs whose own D is a diagonal gets ``p m``.  :func:`reading_after` decides.
    """

    poles: Tensor
    B: Tensor
    C: Tensor
    D: Tensor
    M: Tensor | None = None
    tie: Tie | None = field(default=None, kw_only=True)
    after_sample: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        batch, n = self.poles.shape[:-1], self.poles.shape[-1]
        p, m = self.D.shape[-2:]
        expected = {"B": (*batch, n, m), "C": (*batch, p, n), "D": (*batch, p, m), "M": (*batch, p, n, n)}
        for name, value in zip(ARRAYS, self.arrays(), strict=False):
            shape, dtype = expected.get(name, value.shape), "float64" if name == "D" else "complex128"
            if value.shape != shape:
                raise ValueError(f"{name} has shape {tuple(value.shape)}, but poles {tuple(self.poles.shape)} ask for {shape}.")
            if value.dtype != getattr(torch, dtype):
                raise TypeError(f"{name} is {value.dtype}; systems are {dtype}, cast last.")
        if self.tie is not None and (self.tie.channels, self.tie.order) != tuple(self.poles.shape):
            raise ValueError(
                f"poles {tuple(self.poles.shape)} cannot follow from {self.tie.order} for {self.tie.channels} channels."
            )
        if self.after_sample and (self.is_siso or not has_diagonal_feedthrough(self.D)):
            raise ValueError("a SISO channel, or a system whose D is not diagonal, is written in paper form.")
        places = canonical_places(self.poles)
        if places is not None:
            rows, columns = places[..., :, None], places[..., None, :]
            object.__setattr__(self, "poles", self.poles.gather(-1, places))
            object.__setattr__(self, "B", self.B.take_along_dim(rows, -2))
            object.__setattr__(self, "C", self.C.take_along_dim(columns, -1))
            if self.M is not None:
                sorted_rows = self.M.take_along_dim(rows[..., None, :, :], -2)
                object.__setattr__(self, "M", sorted_rows.take_along_dim(columns[..., None, :, :], -1))

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
        """True if each system has one input and one output."""
        return self.inputs == 1 and self.outputs == 1

    @property
    def residues(self) -> Tensor:
        """Residues ``C_j B_j`` of SISO systems, ``(*batch, n)``: at k >= 1 the response is ``sum_j residue_j pole_j^(k-1)``.

        Raises
        ------
        ValueError
            If the systems have several inputs or outputs.
        """
        if not self.is_siso:
            raise ValueError("only SISO systems have scalar residues.")
        return self.C[..., 0, :] * self.B[..., :, 0]

    def __getitem__(self, index: Any) -> System:
        """Select systems of the batch."""
        return self.mapped(lambda x: x[index])

    def arrays(self) -> tuple[Tensor, ...]:
        """Return poles, B, C, D, and M where there is one."""
        linear = (self.poles, self.B, self.C, self.D)
        return linear if self.M is None else (*linear, self.M)

    def mapped(self, function: Callable[..., Tensor], *others: System) -> System:
        """Return the systems with a function of each array, and of that of ``others``, in its place."""
        arrays = zip(*(system.arrays() for system in (self, *others)), strict=True)
        return System(*(function(*parts) for parts in arrays), after_sample=self.after_sample)

    def reshaped(self, *batch_shape: int) -> System:
        """Return the same systems with another batch shape."""
        rank = len(self.batch_shape)
        return self.mapped(lambda x: x.reshape(*batch_shape, *x.shape[rank:]))

    def __sub__(self, other: System) -> System:
        """Return the parallel connection with ``other`` negated, in paper form; its order is the sum of both."""
        one, two = self.paper_form(), other.paper_form()
        n, r = one.order, two.order
        M = None
        if one.M is not None or two.M is not None:
            M = one.poles.new_zeros((*one.batch_shape, one.outputs, n + r, n + r))
            M[..., :n, :n] = 0 if one.M is None else one.M
            M[..., n:, n:] = 0 if two.M is None else -two.M
        poles, B, C = torch.cat((one.poles, two.poles), -1), torch.cat((one.B, two.B), -2), torch.cat((one.C, -two.C), -1)
        return System(poles, B, C, one.D - two.D, M)

    def with_output(self, C: Tensor, D: Tensor) -> System:
        """Return the same dynamics with another output map and feedthrough."""
        return replace(self, C=C, D=D)

    def paper_form(self) -> System:
        """Return the same system with outputs that read ``C x[k]``."""
        return _moved(self) if self.after_sample else self


def has_diagonal_feedthrough(D: Tensor) -> bool:
    """Return whether D ``(*batch, p, m)`` is zero, or square and zero off its diagonal."""
    p, m = D.shape[-2:]
    others = D - torch.diag_embed(D.diagonal(dim1=-2, dim2=-1)) if p == m else D
    return bool((others == 0).all())


def reading_after(system: System) -> System:
    """Return the systems with these matrices whose linear outputs read the state after the sample, ``C x[k+1]``.

    The form that costs fewer numbers is taken.  A diagonal or zero D stays so; a full one takes up lag zero, in paper form.
    """
    if system.is_siso or not has_diagonal_feedthrough(system.D):
        return _moved(system)
    return replace(system, after_sample=True)


def _moved(system: System) -> System:
    """Return the paper form of outputs ``C x[k+1] + D u[k]``."""
    C, D = system.C * system.poles[..., None, :], system.D + (system.C @ system.B).real
    return replace(system, C=C, D=D, after_sample=False)


def from_conjugate_half(poles: Tensor, B: Tensor, C: Tensor, D: Tensor) -> System:
    """Return the system of which one pole of each conjugate pair is stored: ``y = 2 Re(C x) + D u`` (S4D, DSS, S5 with conj_sym).

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
    places = canonical_order(poles.imag == 0)
    poles, B, C = poles.gather(-1, places), B.take_along_dim(places[..., :, None], -2), C.take_along_dim(places[..., None, :], -1)
    return System(
        poles=torch.stack((poles, poles.conj()), dim=-1).flatten(-2),
        B=torch.stack((B, B.conj()), dim=-2).flatten(-3, -2),
        C=torch.stack((C, C.conj()), dim=-1).flatten(-2),
        D=D.to(torch.float64),
    )


def from_real_part(poles: Tensor, B: Tensor, C: Tensor, D: Tensor) -> System:
    """Return the system with ``y = Re(C x) + D u`` (LRU, S5 without conj_sym); shapes as in :func:`from_conjugate_half`."""
    return from_conjugate_half(poles, B, C / 2, D)


def siso_bank(poles: Tensor, residues: Tensor, feedthrough: Tensor) -> System:
    """Return the bank of SISO channels with these poles and residues.

    Parameters
    ----------
    poles, residues
        ``(*batch, n)`` complex128, closed under conjugation together, in canonical order.
    feedthrough
        ``(*batch,)`` float64.
    """
    return System(poles=poles, B=torch.ones_like(poles)[..., None], C=residues[..., None, :], D=feedthrough[..., None, None])


def stack(systems: Sequence[System]) -> System:
    """Stack systems of equal shapes along a new leading batch axis (the layers of a network).

    Raises
    ------
    ValueError
        If only some have quadratic outputs, or only some read the state after the sample.
    """
    return _together(systems, torch.stack)


def concatenate(systems: Sequence[System]) -> System:
    """Join batches of systems along their first batch axis (banks of several layers into one long bank).

    Raises
    ------
    ValueError
        If only some have quadratic outputs, or only some read the state after the sample.
    """
    return _together(systems, torch.cat)


def _together(systems: Sequence[System], join: Callable[[list[Tensor]], Tensor]) -> System:
    if len({system.M is None for system in systems}) > 1:
        raise ValueError("systems with and without quadratic outputs cannot be put together.")
    if len({system.after_sample for system in systems}) > 1:
        raise ValueError("systems that read the state before and after the sample cannot be put together.")
    return systems[0].mapped(lambda *parts: join(list(parts)), *systems[1:])
