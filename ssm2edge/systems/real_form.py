"""The real form of a SISO bank in which every state receives the input with coefficient one.

    x'_j = a_j x_j + b_j x_swap(j) + u        y = sum_j c_j x_j + d u

``swap`` exchanges positions 2i and 2i + 1 (an odd last state stays).  A conjugate pair with pole ``l`` and residue ``r`` is the
rotation-scaling section a = (Re l, Re l), b = (-Im l, Im l) in coordinates turned by 45 degrees, so that the input needs no
matrix: with z = x_0 + i x_1, z' = l z + (1 + i) u and q = 2 r / (1 + i), the output 2 Re(r z / (1 + i)) is
(Re q) x_0 - (Im q) x_1.  Two real poles are a diagonal section with b = 0.  Powers of such a section have the same structure,
which is what the graphs rely on to compute their constants with elementwise arithmetic only.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ssm2edge.systems.real_coordinates import swap_indices
from ssm2edge.systems.system import System, siso_bank
from ssm2edge.systems.tie import pairs_upright


@dataclass(frozen=True, eq=False)
class RealSections:
    """Coefficients of the unit-input real form of a bank.

    Attributes
    ----------
    a, b, c
        ``(*batch, n)`` float64 (or float32 once cast): diagonal, swapped and output coefficients.
    d
        ``(*batch,)`` feedthrough.
    """

    a: Tensor
    b: Tensor
    c: Tensor
    d: Tensor


def to_real_sections(system: System) -> RealSections:
    """Write a SISO bank in unit-input real form."""
    n = system.order
    poles, residues = system.poles, system.residues
    sign = torch.tensor([1.0 if j % 2 == 0 else -1.0 for j in range(n)], dtype=torch.float64)
    paired = poles.imag != 0
    q = 2 * residues / torch.complex(torch.ones_like(sign), sign)
    b = torch.where(paired, -sign * poles.imag.abs(), torch.zeros_like(poles.imag))
    # In a pair, position 2i holds pole and residue with positive imaginary part; position 2i + 1 their conjugates, so that
    # -sign * Im q of each position reads the same q.
    c = torch.where(paired, torch.where(sign > 0, q.real, q.imag), residues.real)
    return RealSections(a=poles.real.clone(), b=b, c=c, d=system.D[..., 0, 0].clone())


def from_real_sections(sections: RealSections) -> System:
    """Return the bank that a unit-input real form stands for."""
    a, b, c = (x.to(torch.float64) for x in (sections.a, sections.b, sections.c))
    n = a.shape[-1]
    swap = swap_indices(n)
    first = torch.tensor([j % 2 == 0 for j in range(n)])
    paired = b != 0
    poles = torch.complex(a, -b)
    other = c[..., swap]
    q = torch.complex(torch.where(first, c, other), torch.where(first, -other, -c))
    q = torch.where(first, q, q.conj())
    turn = torch.complex(torch.ones_like(a), torch.where(first, 1.0, -1.0).to(a))
    residues = torch.where(paired, q * turn / 2, torch.complex(c, torch.zeros_like(c)))
    return siso_bank(*pairs_upright(poles, residues), sections.d.to(torch.float64))
