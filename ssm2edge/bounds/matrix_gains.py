"""Proven upper bounds on the gains of one linear system of many inputs and outputs.

With taps ``G_0, ..., G_N`` and ``G(z) = sum_k G_k z^-k``, for inputs ``u = S n`` of at most N + 1 samples

    ||G u||_2 <= max_w ||G(e^{iw}) S|| ||n||_2        |(G u)_i[k]| <= sum_j ||row i of G_j S|| max_j ||n[j]||

The maximum is sought on a grid, which cannot miss it by much.  Let F be the maximum, attained at w0, and r(z) the entry of G
between its singular vectors there: a rational function with d poles inside the unit circle (the order of G, or all N of them at
zero for N taps) and ``|r| <= F`` on it.  The phase ``beta`` of the Blaschke product of these poles grows by

    beta'(w) = sum_j (1 - |p_j|^2) / |e^{iw} - p_j|^2            (N for N taps)

and ``f = Re(e^{i (a - beta / 2)} r)``, with a such that f(w0) = F, obeys ``f(w) >= F cos((beta(w) - beta(w0)) / 2)`` up to a
quarter of a turn: f minus a cosine of beta / 2 is a polynomial of degree d over the denominator, so that it cannot vanish three
times between two extremes of that cosine (Duffin and Schaeffer 1938 for polynomials; Borwein and Erdelyi 1996).  Of points at
most ``gap`` apart in beta the nearest lies within gap / 2, hence ``max <= grid maximum / cos(gap / 4)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from ssm2edge.bounds.errors import BoundError
from ssm2edge.bounds.gains import LONGEST, NEGLIGIBLE_TAIL, OVERSAMPLING, ROUNDING, SHORTEST
from ssm2edge.systems.division import TINY, relative
from ssm2edge.systems.response import pole_sequences
from ssm2edge.systems.system import System
from ssm2edge.systems.window import pole_powers, window_sum

MOST_PRODUCTS = 1 << 34
"""Multiplications beyond which the gain of the taps on a horizon is bounded by that of all taps."""

STRIDE = 4
"""Of the first pass over a grid."""

ENTRIES_AT_ONCE = 1 << 21
"""Of responses held together."""

QUANTILES = 48
"""Frequencies for each pole between which the phase is interpolated."""

Found = TypeVar("Found")


@dataclass(frozen=True, eq=False)
class TapSums:
    """Sums over the taps of a system.

    Attributes
    ----------
    rows
        ``(outputs,)``: of each row's Euclidean norm.
    magnitudes
        ``(outputs, inputs)``: of each entry's magnitude.
    h2
        Root of the sum of all squares; infinity on the infinite horizon.
    """

    rows: Tensor
    magnitudes: Tensor
    h2: float


class MatrixGains:
    """Upper bounds on the gains of one linear system, for inputs ``u = S n``; each is computed once for each S.

    Parameters
    ----------
    system
        Of batch shape ``()``; quadratic outputs are left out.
    horizon
        Taps after the first, or None for all.

    Raises
    ------
    BoundError
        If a pole lies on or outside the unit circle.
    """

    def __init__(self, system: System, horizon: int | None) -> None:
        if system.order and not float(system.poles.abs().max()) < 1:
            raise BoundError("The output bound needs stable layers.")
        self.system = replace(system.paper_form(), M=None)
        self._horizon = horizon
        self._found: dict[tuple[str, bytes], Any] = {}

    def energy(self, inputs: Tensor) -> float:
        """Return the gain from the l2 norm of n to that of the outputs.

        Parameters
        ----------
        inputs
            S, ``(inputs, d)`` float64.
        """
        return self._once("energy", inputs, largest_norm)

    def row_energies(self, inputs: Tensor) -> Tensor:
        """Return the gains from the l2 norm of n to that of each output, ``(outputs,)`` float64."""
        return self._once("rows", inputs, largest_rows)

    def h2(self, inputs: Tensor) -> float:
        """Return the gain from the l2 norm of n to the largest norm of the outputs at one step, on a finite horizon."""
        return self._sums(inputs).h2

    def peaks(self, inputs: Tensor) -> Tensor:
        """Return the gains from the largest norm of n at one step to each output's largest magnitude, ``(outputs,)`` float64."""
        return self._sums(inputs).rows

    def magnitudes(self) -> Tensor:
        """Return the gains from the largest magnitude of each input to that of each output, ``(outputs, inputs)`` float64."""
        return self._sums(torch.eye(self.system.inputs, dtype=torch.float64)).magnitudes

    def weighted(self, weights: Tensor) -> MatrixGains:
        """Return the gains of the same system with factors ``(outputs,)`` for its outputs."""
        return MatrixGains(
            replace(self.system, C=weights[:, None] * self.system.C, D=weights[:, None] * self.system.D), self._horizon
        )

    def _sums(self, inputs: Tensor) -> TapSums:
        return self._once("sums", inputs, sums_over_taps)

    def _once(self, what: str, inputs: Tensor, compute: Callable[[System, int | None], Found]) -> Found:
        key = (what, inputs.numpy().tobytes())
        if key not in self._found:
            self._found[key] = compute(self._fed(inputs), self._horizon)
        found: Found = self._found[key]
        return found

    def _fed(self, inputs: Tensor) -> System:
        return replace(self.system, B=self.system.B @ inputs.to(self.system.B), D=self.system.D @ inputs)


def largest_norm(system: System, horizon: int | None) -> float:
    """Bound the norm of the frequency response over all frequencies."""
    frequencies, gap, horizon = _grid(system, horizon)
    coarse = torch.arange(0, len(frequencies) + STRIDE - 1, STRIDE).clamp(max=len(frequencies) - 1)
    above, known = [], 0.0
    for response in _responses(system, frequencies[coarse], horizon):
        upper, known = _largest_singular_value(response, known)
        above.append(upper)
    # The maximum lies where an end is at least cos(STRIDE gap / 4) times it: elsewhere nothing is to be looked for.
    bounds = torch.cat(above)
    kept = torch.maximum(bounds[:-1], bounds[1:]) >= known * math.cos(min(STRIDE * gap / 4, math.pi / 2))
    between = (coarse[:-1][kept, None] + torch.arange(1, STRIDE)).flatten().clamp(max=len(frequencies) - 1)
    for response in _responses(system, frequencies[between], horizon):
        known = _largest_singular_value(response, known)[1]
    return known / math.cos(gap / 4) * ROUNDING


def largest_rows(system: System, horizon: int | None) -> Tensor:
    """Bound the norms of the rows of the frequency response over all frequencies, ``(outputs,)``."""
    frequencies, gap, horizon = _grid(system, horizon)
    found = [torch.linalg.vector_norm(response, dim=-1).amax(0) for response in _responses(system, frequencies, horizon)]
    return torch.stack(found).amax(0) / math.cos(gap / 4) * ROUNDING


def _grid(system: System, horizon: int | None) -> tuple[Tensor, float, int | None]:
    """Return frequencies from 0 to pi, their largest distance in phase, and the horizon of the response on them."""
    work = system.outputs * system.inputs * (system.order + 3 * min(system.outputs, system.inputs))
    if horizon is None or (horizon + 1) * work > MOST_PRODUCTS:
        # What all taps do bounds what some of them do, on a grid that does not grow with their number.
        return *_frequencies_of(system.poles), None
    steps = OVERSAMPLING * (horizon + 1)
    return 2 * math.pi / steps * torch.arange(steps // 2 + 1, dtype=torch.float64), 2 * math.pi / steps * horizon, horizon


def _responses(system: System, frequencies: Tensor, horizon: int | None) -> Iterator[Tensor]:
    """Yield ``D + sum_{k<=N} C A^(k-1) B z^-k``, ``(some frequencies, outputs, inputs)`` complex128 at a time."""
    entries = max(system.outputs * system.inputs, (system.outputs + system.inputs) * system.order, 1)
    for some in torch.split(frequencies, max(1, ENTRIES_AT_ONCE // entries)):
        delay = torch.exp(-1j * some)
        sums = delay[:, None] * window_sum(delay, system.poles, horizon)
        yield system.D + (system.C * sums[:, None]) @ system.B


def _largest_singular_value(matrices: Tensor, known: float) -> tuple[Tensor, float]:
    """Return upper bounds on the norms, and the largest norm, or ``known`` if none is above it; few need a decomposition."""
    small = matrices.mH @ matrices if matrices.shape[-1] <= matrices.shape[-2] else matrices @ matrices.mH
    size = torch.linalg.matrix_norm(small).clamp_min(TINY)[:, None, None]
    # ||H|| <= ||H^4||_F^(1/4), at most n^(1/8) too large, for H = G^H G.
    fourth = torch.linalg.matrix_power(small / size, 4)
    above = (torch.linalg.matrix_norm(fourth).pow(0.25) * size[:, 0, 0]).sqrt() * ROUNDING
    if len(above) and float(above.max()) > known:
        known = max(known, float(torch.linalg.matrix_norm(matrices[above.argmax()], 2)))
        left = matrices[above > known]
        known = max(known, float(torch.linalg.matrix_norm(left, 2).max())) if len(left) else known
    return above, known


def _frequencies_of(poles: Tensor) -> tuple[Tensor, float]:
    """Return frequencies from 0 to pi, even in the phase of the poles' Blaschke product, and their largest distance in it."""
    if not len(poles):
        return torch.zeros(1, dtype=torch.float64), 0.0
    near = _quantiles(poles)
    phase = _phase(poles, near)
    total = float(phase[-1] - phase[0])
    count = math.ceil(OVERSAMPLING * len(poles) / 2) + 1
    wanted = phase[0] + total * torch.linspace(0, 1, count, dtype=torch.float64)
    above = torch.searchsorted(phase, wanted).clamp(1, len(near) - 1)
    low, high = phase[above - 1], phase[above]
    share = relative(wanted - low, high - low).clamp(0, 1)
    frequencies = near[above - 1] + share * (near[above] - near[above - 1])
    frequencies[0], frequencies[-1] = 0.0, math.pi
    return frequencies, float(_phase(poles, frequencies).diff().max())


def _quantiles(poles: Tensor) -> Tensor:
    """Return the frequencies of equal parts of each single pole's phase, all between 0 and pi, sorted."""
    part = (2 * torch.arange(QUANTILES, dtype=torch.float64) + 1) / (2 * QUANTILES) - 0.5
    modulus = poles.abs()[:, None]
    around = 2 * torch.atan((1 - modulus) / (1 + modulus) * torch.tan(math.pi * part))
    frequencies = torch.remainder(poles.angle()[:, None] + around + math.pi, 2 * math.pi) - math.pi
    ends = torch.tensor([0.0, math.pi], dtype=torch.float64)
    return torch.cat((frequencies.abs().flatten(), ends)).sort().values


def _phase(poles: Tensor, frequencies: Tensor) -> Tensor:
    """Return the phase beta at frequencies: the integral of the sum of the poles' Poisson kernels."""
    total = torch.zeros_like(frequencies)
    for some in torch.split(poles, max(1, ENTRIES_AT_ONCE // len(frequencies))):
        modulus, away = some.abs()[:, None], frequencies - some.angle()[:, None]
        turns = torch.round(away / (2 * math.pi))
        half = away / 2 - math.pi * turns
        total += (2 * torch.atan2((1 + modulus) * half.sin(), (1 - modulus) * half.cos()) + 2 * math.pi * turns).sum(0)
    return total


def sums_over_taps(system: System, horizon: int | None) -> TapSums:
    """Sum over the taps on the horizon; on the infinite one a bound on the taps that are not computed is added."""
    taps = horizon
    if taps is None:
        taps = SHORTEST
        while taps < LONGEST and float(_tail(system, taps).sum(-1).max()) >= NEGLIGIBLE_TAIL:
            taps *= 2
    rows, magnitudes = torch.linalg.vector_norm(system.D, dim=-1), system.D.abs()
    squares = float(system.D.square().sum())
    length = max(1, min(taps, ENTRIES_AT_ONCE // max(1, system.outputs * max(system.order, system.inputs))))
    C, powers, step, done = system.C, pole_sequences(system.poles, length).mT, pole_powers(system.poles, length), 0
    while done < taps:
        count = min(length, taps - done)
        tap = ((C * powers[:count, None]) @ system.B).real
        rows = rows + torch.linalg.vector_norm(tap, dim=-1).sum(0)
        magnitudes = magnitudes + tap.abs().sum(0)
        squares += float(tap.square().sum())
        C, done = C * step, done + count
    if horizon is None:
        tail = _tail(system, taps)
        return TapSums((rows + tail.sum(-1)) * ROUNDING, (magnitudes + tail) * ROUNDING, math.inf)
    return TapSums(rows * ROUNDING, magnitudes * ROUNDING, math.sqrt(squares) * ROUNDING)


def _tail(system: System, taps: int) -> Tensor:
    """Bound on the sums of the entries' magnitudes over the taps after so many, ``(outputs, inputs)``."""
    modulus = system.poles.abs()
    return (system.C.abs() * (modulus**taps / (1 - modulus))) @ system.B.abs()
