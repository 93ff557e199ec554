"""Input-weighted h2 reduction of SISO channels: the error for inputs of a measured spectrum, by variable projection.

The target T(w) is the response that a channel should have, S(w) the power of its input.  With basis functions Phi_j(w) of the
poles,

    J = sum_w S(w) |T(w) - d - sum_j r_j Phi_j(w)|^2,    Phi_j(w) = sum_(k=1)^(N) pole_j^(k-1) e^(-i w k)

residues and feedthrough are one small least-squares problem per channel, and the poles follow a Gauss-Newton model of the
projected problem (Kaufman's form: the derivative of the basis, projected off the basis).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ssm2edge.reduction.newton import Local, Minimum, minimise
from ssm2edge.reduction.projection import LARGEST_RIDGE, RIDGE, memory
from ssm2edge.reduction.search import better_of
from ssm2edge.reduction.sections import Sections
from ssm2edge.systems.gram import scaled
from ssm2edge.systems.real_coordinates import complex_columns, real_rows, swapped
from ssm2edge.systems.system import System, siso_bank
from ssm2edge.systems.window import window_sum

BLOCK = 1 << 22
"""Elements of one basis table evaluated at a time."""

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

    @property
    def energy(self) -> Tensor:
        """Weighted squared norm of the target, ``(channels,)``."""
        return (self.weight * self.response.abs().square()).sum(-1)

    def __getitem__(self, index: Tensor | slice, /) -> WeightedTarget:
        return WeightedTarget(self.response[index], self.weight[index], self.taps, self.feedthrough)


def basis(poles: Tensor, taps: int, frequencies: Tensor) -> tuple[Tensor, Tensor]:
    """Return the spectra of sampled exponentials and their derivatives by log pole, ``(*batch, r, F)`` complex128."""
    delay = torch.exp(-1j * frequencies)
    q = poles[..., None] * delay
    rest = 1 - q
    # q^N of poles that have died away underflows to zero, which is what it should be.
    last = poles.pow(taps)[..., None] * torch.exp(-1j * taps * frequencies)
    total = (1 - last) / rest
    slope = (q * total - taps * last) / rest
    return delay * total, delay * slope


def _real(x: Tensor, root: Tensor) -> Tensor:
    """Return weighted spectra as real rows: their products are those of real signals."""
    return torch.view_as_real(x * root).flatten(-2)


@dataclass(frozen=True, eq=False)
class _Projected:
    """The best residues and feedthrough for given poles, and the factors that the derivatives need."""

    columns: Tensor
    factor: Tensor
    scale: Tensor
    coefficients: Tensor
    residual: Tensor
    penalty: Tensor
    slopes: Tensor


def _projected(target: WeightedTarget, sections: Sections) -> _Projected:
    poles, paired = sections.poles(), sections.paired
    frequencies = torch.linspace(0, torch.pi, target.response.shape[-1], dtype=torch.float64)
    spectra, slopes = basis(poles, target.taps, frequencies)
    root = target.weight.sqrt()[..., None, :]
    columns = real_rows(spectra, paired)
    columns = torch.cat((columns, torch.full_like(columns[..., :1, :], float(target.feedthrough))), dim=-2)
    columns = _real(columns, root)
    goal = _real(target.response[..., None, :], root)
    gram = columns @ columns.mT
    energies = gram.diagonal(dim1=-2, dim2=-1)
    # A pair next to the real axis, or next to zero, has one row that is almost nothing: its coefficient is weighed as if the row
    # had the energy of the other one, or it would grow until float32 cannot hold what cancels.
    whole = torch.where(paired, torch.maximum(energies[..., :-1], swapped(energies[..., :-1])), energies[..., :-1])
    whole = torch.cat((whole, energies[..., -1:]), dim=-1).clamp_min(1e-280)
    energies = torch.maximum(energies, FAINTEST * whole)
    scale = energies.rsqrt()
    normalised = scaled(gram, scale)
    own = memory(window_sum(poles, poles, target.taps), paired)
    ridge = torch.cat(((RIDGE * own).clamp_max(LARGEST_RIDGE), torch.full_like(own[..., :1], RIDGE)), dim=-1) * whole / energies
    factor, _ = torch.linalg.cholesky_ex(normalised + torch.diag_embed(ridge))
    right = (columns @ goal.mT) * scale[..., None]
    solved = torch.cholesky_solve(right, factor)
    penalty = (ridge * solved[..., 0].square()).sum(-1)
    coefficients = solved[..., 0] * scale
    residual = goal - coefficients[..., None, :] @ columns
    return _Projected(columns, factor, scale, coefficients, residual, penalty, slopes)


def _residues(projected: _Projected, paired: Tensor) -> Tensor:
    return complex_columns(projected.coefficients[..., None, :-1], paired)[..., 0, :]


def evaluate_weighted(target: WeightedTarget, sections: Sections) -> Local:
    """Return the projected weighted error, its gradient and a Gauss-Newton matrix, by the sections' scaled parameters."""
    length = max(1, BLOCK // (target.response.shape[-1] * (sections.parameters.shape[-1] + 1)))
    spans = [slice(i, i + length) for i in range(0, max(len(target.response), 1), length)]
    parts = [_evaluate(target[span], sections[span]) for span in spans]
    return Local(*(torch.cat([getattr(part, name) for part in parts]) for name in ("value", "gradient", "hessian")))


def _evaluate(target: WeightedTarget, sections: Sections) -> Local:
    projected = _projected(target, sections)
    moved = _residues(projected, sections.paired)[..., None] * projected.slopes
    jacobian = _real(sections.tangent().mT @ moved, target.weight.sqrt()[..., None, :])
    gradient = -2 * (jacobian @ projected.residual.mT)[..., 0]
    inside = (projected.columns @ jacobian.mT) * projected.scale[..., None]
    half = torch.linalg.solve_triangular(projected.factor, inside, upper=False)
    hessian = 2 * (jacobian @ jacobian.mT - half.mT @ half)
    value = projected.residual.square().sum((-2, -1)) + projected.penalty
    return Local(value.nan_to_num(torch.inf, torch.inf, torch.inf), gradient, hessian)


def fit_poles(target: WeightedTarget, starts: list[Sections]) -> Minimum:
    """Refine every start a little, and the best of each channel to the end; never worse than any start."""
    best = minimise(target, starts[0], SHORT, evaluate=evaluate_weighted)
    for start in starts[1:]:
        best = better_of(best, minimise(target, start, SHORT, evaluate=evaluate_weighted))
    return better_of(best, minimise(target, best.sections, LONG, evaluate=evaluate_weighted))


def fitted(target: WeightedTarget, sections: Sections) -> System:
    """Return the bank with the given poles and the best residues and feedthrough."""
    projected = _projected(target, sections)
    return siso_bank(sections.poles(), _residues(projected, sections.paired), projected.coefficients[..., -1])
