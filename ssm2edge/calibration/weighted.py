"""Input-weighted h2 reduction of SISO channels: the error for inputs of a measured spectrum, by variable projection.

The target T(w) is the response that a channel should have, S(w) the power of its input.  With basis functions Phi_j(w) of the
poles,

    J = sum_w S(w) |T(w) - d - sum_j r_j Phi_j(w)|^2,    Phi_j(w) = sum_(k=1)^(N) pole_j^(k-1) e^(-i w k)

residues and feedthrough are one small least-squares problem per channel, and the poles follow a Gauss-Newton model of the
projected problem (Kaufman's form: the derivative of the basis, projected off the basis).  All products of basis functions come
from the autocorrelation of the input (``moments.py``): no table over frequencies is made.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ssm2edge.calibration.moments import Moments, Products, moments_of, products_of
from ssm2edge.reduction.newton import Local, Minimum, minimise
from ssm2edge.reduction.projection import LARGEST_RIDGE, RIDGE, memory
from ssm2edge.reduction.search import better_of
from ssm2edge.reduction.sections import Sections
from ssm2edge.systems.gram import real_gram, scaled
from ssm2edge.systems.real_coordinates import complex_columns, real_rows, swapped
from ssm2edge.systems.system import System, siso_bank
from ssm2edge.systems.window import window_sum

BLOCK = 1 << 19
"""Coefficients of the moments of channels that are evaluated at a time: what stays in the cache."""

FAINTEST = 1e-20
"""Energy of a pair's fainter row, relative to the other one's, below which it is taken to have that share."""

SHORT, LONG = 10, 60
"""Steps for every start, and for the best of them."""


@dataclass(frozen=True, eq=False)
class WeightedTarget:
    """Targets and weights of SISO channels at the frequencies ``pi f / (F - 1)``.

    Attributes
    ----------
    response
        ``(channels, F)`` complex128.
    weight
        ``(channels, F)`` float64, not negative.
    taps
        Taps of the impulse response after the feedthrough.
    feedthrough
        False if the bank has none: d is zero.
    """

    response: Tensor
    weight: Tensor
    taps: int
    feedthrough: bool = True

    def moments(self) -> Moments:
        """Return what the error depends on."""
        return moments_of(self.response, self.weight, self.taps, self.feedthrough)


@dataclass(frozen=True, eq=False)
class _Projected:
    """The best residues and feedthrough for given poles, and the factors that the derivatives need."""

    products: Products
    factor: Tensor
    scale: Tensor
    residues: Tensor
    feedthrough: Tensor
    value: Tensor


def _bordered(matrix: Tensor, column: Tensor, corner: Tensor) -> Tensor:
    """Return symmetric matrices with one row and one column more."""
    upper = torch.cat((matrix, column[..., None]), dim=-1)
    return torch.cat((upper, torch.cat((column, corner[..., None]), dim=-1)[..., None, :]), dim=-2)


def _projected(moments: Moments, sections: Sections) -> _Projected:
    poles, paired = sections.poles(), sections.paired
    products = products_of(moments, poles)
    first, target = (real_rows(x[..., None], paired)[..., 0].real for x in (products.first, products.target))
    gram = _bordered(real_gram(products.own, paired), first, moments.white * moments.feedthrough)
    energies = gram.diagonal(dim1=-2, dim2=-1).clamp_min(0)
    # A pair next to the real axis, or next to zero, has one row that is almost nothing: its coefficient is weighed as if the row
    # had the energy of the other one, or it would grow until float32 cannot hold what cancels.
    whole = torch.where(paired, torch.maximum(energies[..., :-1], swapped(energies[..., :-1])), energies[..., :-1])
    whole = torch.cat((whole, energies[..., -1:]), dim=-1).clamp_min(1e-280)
    energies = torch.maximum(energies, FAINTEST * whole)
    scale = energies.rsqrt()
    own = memory(window_sum(poles, poles, moments.taps), paired)
    ridge = torch.cat(((RIDGE * own).clamp_max(LARGEST_RIDGE), torch.full_like(own[..., :1], RIDGE)), dim=-1) * whole / energies
    factor, _ = torch.linalg.cholesky_ex(scaled(gram, scale) + torch.diag_embed(ridge))
    right = (torch.cat((target, moments.straight[..., None]), dim=-1) * scale)[..., None]
    half = torch.linalg.solve_triangular(factor, right, upper=False)
    coefficients = torch.linalg.solve_triangular(factor.mT, half, upper=True)[..., 0] * scale
    residues = complex_columns(coefficients[..., None, :-1], paired)[..., 0, :]
    return _Projected(products, factor, scale, residues, coefficients[..., -1], moments.energy - half.square().sum((-2, -1)))


def evaluate_weighted(moments: Moments, sections: Sections) -> Local:
    """Return the projected weighted error, its gradient and a Gauss-Newton matrix, by the sections' scaled parameters."""
    length = max(1, BLOCK // moments.rows[0].numel())
    spans = [slice(i, i + length) for i in range(0, max(len(moments.energy), 1), length)]
    parts = [_evaluate(moments[span], sections[span]) for span in spans]
    return Local(*(torch.cat([getattr(part, name) for part in parts]) for name in ("value", "gradient", "hessian")))


def _evaluate(moments: Moments, sections: Sections) -> Local:
    projected, T = _projected(moments, sections), sections.tangent()
    products, r = projected.products, projected.residues
    # Products of the remaining error with the derivatives of the basis.
    left = products.target_slopes - (r[..., None, :] @ products.half)[..., 0, :]
    left = left - projected.feedthrough[..., None] * products.first_slopes
    gradient = -2 * (T.mT @ (r * left)[..., None])[..., 0].real
    moved = real_rows((products.half * r[..., None, :]) @ T, sections.paired).real
    straight = ((products.first_slopes * r)[..., None, :] @ T).real
    inside = torch.cat((moved, straight), dim=-2) * projected.scale[..., None]
    half = torch.linalg.solve_triangular(projected.factor, inside, upper=False)
    whole = (T.mT @ (r[..., :, None] * products.slopes * r[..., None, :]) @ T).real
    return Local(projected.value.nan_to_num(torch.inf, torch.inf, torch.inf), gradient, 2 * (whole - half.mT @ half))


def fit_poles(moments: Moments, starts: list[Sections]) -> Minimum:
    """Refine every start a little, and the best of each channel to the end; never worse than any start."""
    best = minimise(moments, starts[0], SHORT, evaluate=evaluate_weighted)
    for start in starts[1:]:
        best = better_of(best, minimise(moments, start, SHORT, evaluate=evaluate_weighted))
    return better_of(best, minimise(moments, best.sections, LONG, evaluate=evaluate_weighted))


def fitted(moments: Moments, sections: Sections) -> System:
    """Return the bank with the given poles and the best residues and feedthrough."""
    projected = _projected(moments, sections)
    return siso_bank(sections.poles(), projected.residues, projected.feedthrough)
