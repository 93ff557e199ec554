"""Second-order minimisation of the projected h2 error of SISO channels, all channels at once.

With impulse responses h[k] = sum_i c_i lambda_i^k and sum_j r_j exp(l_j k), the squared error on N taps is

    J(r, l) = |h|^2 - 2 sum_j r_j H(l_j) + sum_ij r_i r_j s(l_i + l_j),      H(l) = sum_i c_i s(log lambda_i + l)

where s is the window sum.  r is eliminated (r = s^-1 H), l follows real parameters (``sections.py``), and s', s'' are closed
forms, so that the exact Hessian of the projected problem costs little more than its value.  Steps are Newton's with the
eigenvalues' moduli in place of the eigenvalues (descent near saddles, too), inside a trust region in units of each pole's width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

import torch
from torch import Tensor

from ssm2edge.reduction.projection import EPS, RIDGE, gram_factor, memory, ridge_of, rounding_energy
from ssm2edge.reduction.sections import Sections
from ssm2edge.systems.division import TINY
from ssm2edge.systems.gram import real_gram
from ssm2edge.systems.norms import h2_norm
from ssm2edge.systems.real_coordinates import complex_columns, real_rows, swapped
from ssm2edge.systems.system import System
from ssm2edge.systems.window import pole_powers, window_sums

# Elements of one kernel matrix evaluated at a time: half a megabyte stays in the cache.  128 channels of 64 states at order 8,
# one of them with a real pole, are evaluated at once.
BLOCK = 34_816


@dataclass(frozen=True, eq=False)
class Channels:
    """SISO targets h[k] = 2 Re sum_i residue_i pole_i^k: one pole of each conjugate pair, real poles at half weight.

    ``poles`` and ``residues`` are ``(batch, n)``; ``last`` is ``poles ** horizon``, None on the infinite horizon; ``energy`` is
    ``sum_k h[k]^2`` on the horizon, ``(batch,)``; ``ridge`` is the weight of the residues' own energy (``projection.py``), whose
    share in the derivatives is left out.
    """

    poles: Tensor
    residues: Tensor
    last: Tensor | None
    energy: Tensor
    horizon: int | None
    ridge: float = RIDGE

    def __getitem__(self, index: Tensor | slice) -> Channels:
        last = None if self.last is None else self.last[index]
        return Channels(self.poles[index], self.residues[index], last, self.energy[index], self.horizon, self.ridge)

    @property
    def rows(self) -> int:
        """Numbers that are computed for each pole."""
        return self.poles.shape[-1]

    def moments(self, poles: Tensor, paired: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return ``H`` at the logarithms of the poles and its first two derivatives, each ``(batch, r)``."""
        sums = window_sums(self.poles, poles, self.horizon, self.last)
        zero, one, two = (correlations(self, each, paired) for each in sums)
        return zero, one, two

    def penalty(self, gram: Tensor, memories: Tensor, poles: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the ridge; its derivative is left out."""
        return ridge_of(memories, self.ridge), None


def channels_of(system: System, horizon: int | None, ridge: float = RIDGE) -> Channels:
    """Read the strictly proper part of SISO systems as targets."""
    residues = torch.where(system.poles.imag == 0, system.residues / 2, system.residues)
    needed = (system.poles.imag >= 0) & (residues != 0)
    rows = max(1, int(needed.sum(-1).max()))
    index = torch.argsort((~needed).to(torch.int8), dim=-1, stable=True)[..., :rows]
    residues = torch.where(needed, residues, torch.zeros_like(residues)).gather(-1, index)
    energy = h2_norm(system, horizon).square() - system.D[..., 0, 0].square()
    poles = system.poles.gather(-1, index)
    last = None if horizon is None else pole_powers(poles, horizon)
    return Channels(poles, residues, last, energy.clamp_min(0), horizon, ridge)


@dataclass(frozen=True, eq=False)
class Local:
    """Second-order model of the projected error: value ``(batch,)``, gradient ``(batch, r)``, Hessian ``(batch, r, r)``.

    ``value`` is the squared error plus a bound on its rounding error, so that nothing is gained by poles so close
    that their residues blow up.
    """

    value: Tensor
    gradient: Tensor
    hessian: Tensor


@dataclass(frozen=True, eq=False)
class Minimum:
    """End of an iteration: sections, squared errors, steps taken, and the channels that met the tolerance."""

    sections: Sections
    value: Tensor
    iterations: Tensor
    converged: Tensor


class Targets(Protocol):
    """Responses of SISO channels, however they are given: by poles and residues, or by their taps."""

    @property
    def energy(self) -> Tensor: ...

    @property
    def horizon(self) -> int | None: ...

    @property
    def ridge(self) -> float: ...

    @property
    def rows(self) -> int: ...

    def __getitem__(self, index: Tensor | slice, /) -> Self: ...

    def moments(self, poles: Tensor, paired: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return ``sum_k k^i h[k] pole^k`` for i = 0, 1, 2."""

    def penalty(self, gram: Tensor, memories: Tensor, poles: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the weights of the normalised residues' energies, and the derivatives of their logarithms by nu, if they count.

        Parameters
        ----------
        gram
            ``(batch, r, r)``, real.
        memories, poles
            ``(batch, r)``; memories of :func:`~ssm2edge.reduction.projection.memory`.
        """


def evaluate(channels: Targets, sections: Sections) -> Local:
    """Return value, gradient and Hessian of the projected squared error with respect to the scaled parameters."""
    batch, length = len(channels.energy), max(1, BLOCK // (channels.rows * sections.parameters.shape[-1]))
    parts = [_evaluate(channels[i : i + length], sections[slice(i, i + length)]) for i in range(0, max(batch, 1), length)]
    return Local(*(torch.cat([getattr(part, name) for part in parts]) for name in ("value", "gradient", "hessian")))


def correlations(channels: Channels, kernel: Tensor, paired: Tensor) -> Tensor:
    """Return ``sum_i c_i kernel_ij`` over whole conjugate pairs, from kernels of one member each, ``(batch, r)``."""
    half = (channels.residues[..., None, :] @ kernel)[..., 0, :]
    return half + torch.where(paired, swapped(half), half).conj()


def _evaluate(channels: Targets, sections: Sections) -> Local:
    poles, paired = sections.poles(), sections.paired
    H, H1, H2 = channels.moments(poles, paired)
    s, s1, s2 = window_sums(poles, poles, channels.horizon)
    own = memory(s, paired)
    gram = real_gram(s, paired)
    weights, bent = channels.penalty(gram, own, poles)
    L, scale, jitter = gram_factor(gram, weights)
    target = real_rows(H[..., None], paired).real * scale[..., None]
    half = torch.linalg.solve_triangular(L, target, upper=False)
    normalised = torch.linalg.solve_triangular(L.mT, half, upper=True)
    captured = half.square().sum((-2, -1))
    # U is unitary and r_real = conj(U) r, so r = U^T r_real.
    r = complex_columns((normalised * scale[..., None]).mT, paired)[..., 0, :]
    value = (channels.energy - captured + rounding_energy(r, own, jitter)).nan_to_num(torch.inf, torch.inf, torch.inf)
    weighted = (s1 @ r[..., None])[..., 0]
    slope = 2 * (weighted - H1)
    g = r * slope
    bend = r * 2 * ((s2 @ r[..., None])[..., 0] - H2)
    J_ll = 2 * r[..., :, None] * s2 * r[..., None, :] + torch.diag_embed(bend)
    J_rl = 2 * s1 * r[..., None, :] + torch.diag_embed(slope)
    T = sections.tangent()
    mixed = real_rows(J_rl @ T, paired).real * scale[..., :, None]
    mixed = torch.linalg.solve_triangular(L, mixed, upper=False)
    hessian = (T.mT @ J_ll @ T).real - mixed.mT @ mixed / 2
    gradient = (T.mT @ g[..., None])[..., 0].real
    # log lambda bends with nu: its second derivative is its first, -exp(nu), of both members of a pair; theta is linear.
    theta = paired & (torch.arange(poles.shape[-1]) % 2 == 1)
    curved = torch.where(theta, torch.zeros_like(gradient), gradient)
    if bent is not None:
        first, second = (_on_first(weights * normalised[..., 0].square() * power, paired) for power in (bent, bent.square()))
        gradient, curved = gradient + first, curved + second
    return Local(value, gradient, hessian + torch.diag_embed(curved))


def _on_first(values: Tensor, paired: Tensor) -> Tensor:
    """Return the sums over pairs at the places of their first members, and single values at theirs."""
    theta = paired & (torch.arange(values.shape[-1]) % 2 == 1)
    return torch.where(theta, 0.0, torch.where(paired, values + swapped(values), values))


class Target(Protocol):
    """Targets of poles, channel by channel; ``energy`` ``(batch,)`` is the squared error of no poles at all."""

    @property
    def energy(self) -> Tensor: ...

    def __getitem__(self, index: Tensor, /) -> Self: ...


AnyTarget = TypeVar("AnyTarget", bound=Target)


def minimise(
    channels: AnyTarget,
    start: Sections,
    steps: int = 60,
    tolerance: float = 1e-9,
    evaluate: Callable[[AnyTarget, Sections], Local] = evaluate,  # type: ignore[assignment]  # the default speaks of Channels
) -> Minimum:
    """Minimise from the given sections; never returns a value above the start's.

    Parameters
    ----------
    steps
        Most evaluations per channel.
    tolerance
        A channel has converged when the decrease its model predicts is below this share of its squared error.
    evaluate
        Value, gradient and Hessian of the error that is minimised; the h2 error by default.
    """
    batch = start.parameters.shape[0]
    parameters = start.parameters.clone()
    local = evaluate(channels, start)
    value, gradient, hessian = local.value, local.gradient, local.hessian
    radius = torch.full((batch,), 0.5, dtype=torch.float64)
    iterations = torch.zeros(batch, dtype=torch.int64)
    converged = torch.zeros(batch, dtype=torch.bool)
    active = torch.arange(batch)
    for _ in range(steps):
        current = Sections(parameters[active], start.paired[active], start.negative[active], start.slowest)
        step, predicted = newton_step(gradient[active], hessian[active], radius[active])
        done = predicted <= tolerance * value[active].abs() + 4 * EPS * channels.energy[active]
        converged[active[done]] = True
        keep = ~done & (radius[active] > 1e-7) & torch.isfinite(value[active])
        active, step, predicted, current = active[keep], step[keep], predicted[keep], current[keep]
        if not len(active):
            break
        trial = current.moved(step)
        local = evaluate(channels[active], trial)
        gain = (value[active] - local.value) / predicted
        better = (local.value < value[active]) & torch.isfinite(local.hessian).all(-1).all(-1)
        length = step.abs().amax(-1)
        grown = torch.where(gain > 0.7, torch.maximum(radius[active], 2.5 * length), radius[active])
        grown = torch.where(gain < 0.2, 0.4 * length, grown)
        radius[active] = torch.where(better, grown, 0.25 * length).clamp_max(2.0)
        where = active[better]
        parameters[where] = trial.parameters[better]
        value[where] = local.value[better]
        gradient[where] = local.gradient[better]
        hessian[where] = local.hessian[better]
        iterations[active] += 1
    return Minimum(Sections(parameters, start.paired, start.negative, start.slowest), value, iterations, converged)


def newton_step(gradient: Tensor, hessian: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
    """Return the step ``-|Hessian|^-1 gradient`` cut to the trust radius (largest component), and the decrease it predicts."""
    usable = torch.isfinite(hessian).all(-1).all(-1)
    eye = torch.eye(hessian.shape[-1], dtype=hessian.dtype)
    values, vectors = torch.linalg.eigh(torch.where(usable[:, None, None], hessian, eye))
    along = (vectors.mT @ gradient.nan_to_num()[..., None])[..., 0]
    size = values.abs()
    size = torch.maximum(size, 1e-10 * size.amax(-1, keepdim=True)).clamp_min(TINY)
    weights = along / size
    # Components are cut one by one along eigenvectors: a flat direction must not shorten the step along a steep one.
    weights = torch.maximum(torch.minimum(weights, radius[:, None]), -radius[:, None])
    step = -(vectors @ weights[..., None])[..., 0]
    predicted = (along * weights - 0.5 * size * weights.square()).sum(-1)
    return step, predicted
