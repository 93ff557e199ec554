"""The real form of one system of many inputs and outputs, quadratic outputs included.

    x'_j = a_j x_j + b_j x_swap(j) + (input u)_j        y = output x + feedthrough u + mixing (factors x)^2

or, where the outputs read the state after the sample, ``y = output x' + feedthrough * u + mixing (factors x)^2``.

``swap`` exchanges positions 2i and 2i + 1 (an odd last state stays).  A conjugate pair with pole ``l`` is the rotation-scaling
section a = (Re l, Re l), b = (-Im l, Im l) on (Re z, Im z); real poles have b = 0.  Every state is scaled so that white input of
unit variance gives it unit variance: float32 then serves all of them alike, and so does one step size of an optimiser.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ssm2edge.systems.dense import conjugate_basis, to_dense
from ssm2edge.systems.gram import scaled
from ssm2edge.systems.quadratic import squares_of
from ssm2edge.systems.real_coordinates import swap_indices
from ssm2edge.systems.system import System


@dataclass(frozen=True, eq=False)
class MimoSections:
    """Coefficients of the real form of one system with n states, m inputs, p outputs and q squares.

    Attributes
    ----------
    a, b
        ``(n,)``: diagonal and swapped coefficients.
    input, output
        ``(n, m)``, ``(p, n)``.
    feedthrough
        ``(p, m)``; where outputs read the state after the sample its diagonal ``(p,)``, or None if it is zero.
    factors, mixing
        ``(q, n)`` and ``(p, q)``, or None for linear outputs.
    """

    a: Tensor
    b: Tensor
    input: Tensor
    output: Tensor
    feedthrough: Tensor | None
    factors: Tensor | None = None
    mixing: Tensor | None = None

    @property
    def after_sample(self) -> bool:
        """True if the linear outputs read the state after the sample."""
        return self.feedthrough is None or self.feedthrough.ndim == 1


def to_mimo_sections(system: System) -> MimoSections:
    """Write one system, of batch shape ``()``, in real form, float64.

    Raises
    ------
    ValueError
        If the system is a batch.
    """
    if system.batch_shape:
        raise ValueError(f"one system has batch shape (), not {tuple(system.batch_shape)}.")
    dense = to_dense(system)
    n = system.order
    swap = swap_indices(n)
    every = torch.arange(n)
    a = dense.A.diagonal().clone()
    b = torch.where(torch.tensor(swap) == every, torch.zeros_like(a), dense.A[every, swap])
    variance = dense.B.square().sum(-1) / (1 - system.poles.abs().square()).clamp_min(1e-30)
    # Members of a pair share one scale, so that their section stays a rotation.
    variance = torch.where(b != 0, (variance + variance[swap]) / 2, variance)
    scale = torch.where(variance > 0, variance, torch.ones_like(variance)).sqrt()
    factors = mixing = None
    if dense.M is not None:
        factors, mixing = squares_of(scaled(dense.M, scale))
        # Squares of unit weight in the mean: a factor and its weight share the size of their term.
        size = torch.linalg.vector_norm(factors, dim=-1).clamp_min(1e-30)
        factors, mixing = factors / size[:, None], mixing * size.square()
    feedthrough: Tensor | None = dense.D.clone()
    if system.after_sample:
        feedthrough = dense.D.diagonal().clone() if bool(dense.D.any()) else None
    return MimoSections(a, b, dense.B / scale[:, None], dense.C * scale, feedthrough, factors, mixing)


def from_mimo_sections(sections: MimoSections) -> System:
    """Return the system that a real form stands for."""
    a, b = sections.a.double(), sections.b.double()
    n = len(a)
    paired = b != 0
    U = conjugate_basis(paired)
    poles = torch.complex(a, -b)
    B = U.mH @ sections.input.to(U)
    C = sections.output.to(U) @ U
    M = None
    if sections.factors is not None and sections.mixing is not None:
        V = sections.factors.to(U) @ U
        M = torch.einsum("pq,qi,qj->pij", sections.mixing.to(U), V, V)
    # A section may turn either way; in canonical order the first pole is the one in the upper half plane.
    first = torch.arange(n) % 2 == 0
    exchanged = paired & (torch.where(first, poles.imag, -poles.imag) < 0)
    order = torch.where(exchanged, torch.tensor(swap_indices(n)), torch.arange(n))
    M = None if M is None else M[:, order][:, :, order]
    D = B.real.new_zeros(len(C), B.shape[1]) if sections.feedthrough is None else sections.feedthrough.double()
    D = torch.diag(D) if D.ndim == 1 else D
    return System(poles[order], B[order], C[:, order], D, M, after_sample=sections.after_sample)
