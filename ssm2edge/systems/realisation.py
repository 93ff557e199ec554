"""Systems from impulse responses: Ho-Kalman realisation (the eigensystem realisation algorithm, ERA).

With H = U S V^T the block Hankel matrix of the taps after the feedthrough (``hankel.py``), U is an observability matrix in
coordinates of its own: its rows shifted by one block are ``U A`` (Ho and Kalman 1966; Kung 1978; Juang and Pappa 1985), hence

    A = (U without its last block)^+ (U without its first)        poles = eigenvalues of A        B = S V_0^T

The output maps are then fitted to all taps by least squares for the poles found, so that inaccurate eigenvectors do not spoil the
response.  A response on L taps may grow, or be cut off while it lasts: its realisation then has poles on or outside the unit
circle.  They are brought inside, or a continuation that dies away is realised; the result records it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ssm2edge.systems.dense import DenseSystem, canonical_order, to_modal
from ssm2edge.systems.division import relative
from ssm2edge.systems.eigen import eigenvalues
from ssm2edge.systems.gram import real_gram, scaled
from ssm2edge.systems.hankel import Triplets, hankel_of, leading_triplets
from ssm2edge.systems.inside import thinned
from ssm2edge.systems.real_coordinates import complex_columns, real_rows
from ssm2edge.systems.response import pole_sequences
from ssm2edge.systems.stability import into_disc
from ssm2edge.systems.system import System, concatenate
from ssm2edge.systems.window import window_sum

TOLERANCE = 2e-6
"""Relative error up to which a response counts as realised: a fifth of the accuracy of a float32 forward."""
LARGEST_ORDER = 128
FIRST_WIDTH, SPARE = 32, 8
"""Singular triplets computed first, and those beyond the order wanted that make the leading ones accurate."""
ROUNDS, GROWTH = 4, 1.5
"""Number of times, and factor, by which the order grows while the error is above the tolerance."""
RIDGES = (1e-2, 1e-4, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-12, 1e-13)
"""Of the normalised least-squares problem, singular if poles nearly meet; each works on the remainder of the one before."""
NOISE = 2.0**-22
"""Rounding of each mode on a float32 device, relative to the mode: modes that cancel to less than this gain nothing by it."""
LARGEST_SIZE, WORTHWHILE = 2000.0, 0.1
"""Size of all modes together, relative to the response, beyond which they may cancel only for an error below ``WORTHWHILE``."""
LONGEST_THINNED = 1024
"""Longest response that states are taken out for: longer ones determine them."""
FLOOR, DROP, NO_WORSE = 10.0, 10.0, 1.5
"""States that fit the rounding of measured taps go: those behind a drop of the singular values by ``DROP``, where the error
without them stays below ``FLOOR`` tolerances and ``NO_WORSE`` times the one with them."""
REACH = 0.5
"""Lengths of the response by which one is continued whose realisation would grow."""
HORIZONS_REMEMBERED = 100.0
"""Lengths of the response that a repaired pole remembers."""
CHUNK_BYTES = 256 * 2**20


@dataclass(frozen=True, eq=False)
class Realisation:
    """Systems realised from impulse responses, and their errors.

    Attributes
    ----------
    system
        The systems, all of the order of the one that needs most; surplus states of the others have no output.
    error, relative_error
        ``(*batch,)`` float64: root of the energy of the difference over all taps, and relative to the response's own.
    repaired
        ``(*batch,)`` int64, poles of the plain realisation on or outside the unit circle: brought inside, or avoided by
        continuing the response, whichever left less.
    """

    system: System
    error: Tensor
    relative_error: Tensor
    repaired: Tensor

    @property
    def total(self) -> float:
        """Relative error of all systems together."""
        norms = relative(self.error, self.relative_error)
        return float(relative(self.error.norm(), norms.norm()))


def realise(response: Tensor, tolerance: float = TOLERANCE, largest_order: int = LARGEST_ORDER) -> Realisation:
    """Realise impulse responses with as many states as they need.

    Parameters
    ----------
    response
        ``(*batch, p, m, length)`` float64, the feedthrough first; at least three taps.
    tolerance
        Relative error that is good enough.
    largest_order
        States that no system exceeds; the error is larger if these do not suffice.

    Raises
    ------
    ValueError
        If the response is too short, or not finite.
    """
    if response.dim() < 3 or response.shape[-1] < 3:
        raise ValueError(
            f"a realisation needs (*batch, p, m, length) with at least three taps, not shape {tuple(response.shape)}."
        )
    if not torch.isfinite(response).all():
        raise ValueError("the impulse response holds NaN or infinite values.")
    batch = response.shape[:-3]
    flat = response.to(torch.float64).reshape(-1, *response.shape[-3:])
    width = largest_order + SPARE
    per_system = 16 * width * (sum(flat.shape[1:3]) + 2) * flat.shape[-1]
    length = max(1, CHUNK_BYTES // per_system)
    parts = [_realise(flat[i : i + length], tolerance, largest_order) for i in range(0, len(flat), length)]
    order = max(part.system.order for part in parts)
    systems = [_padded(part.system, order) for part in parts]

    columns = (torch.cat([getattr(part, name) for part in parts]) for name in ("error", "relative_error", "repaired"))
    return Realisation(concatenate(systems).reshaped(*batch), *(column.reshape(batch) for column in columns))


def _realise(response: Tensor, tolerance: float, largest_order: int) -> Realisation:
    """Realise ``(batch, p, m, length)``."""
    D, taps = response[..., 0].contiguous(), response[..., 1:]
    norm = response.square().sum((-3, -2, -1)).sqrt()
    limit = tolerance * norm
    triplets = _triplets(taps, limit, largest_order)
    plain, values = triplets, triplets.values
    orders = (values > limit[:, None] / 2).sum(-1)
    best = _grown(taps, D, triplets, orders, limit, largest_order)
    # A Hankel matrix of full rank says nothing about a shift: its response has to go on, if only as zeros.
    short = triplets.values.shape[-1] < largest_order
    strayed = torch.nonzero(((best.repaired > 0) | short) & (best.error > limit))[:, 0]
    if len(strayed):
        some, wanted = taps[strayed], limit[strayed]
        triplets = _triplets(continued(some), wanted, largest_order)
        # The count of poles outside stays that of the first try, although none of these lies there.
        repaired = best.repaired
        best = _better(best, _grown(some, D[strayed], triplets, orders[strayed], wanted, largest_order), strayed)
        best = replace(best, repaired=repaired)
    if response.shape[1] == response.shape[2] == 1 and taps.shape[-1] <= LONGEST_THINNED:
        best = _thinned(taps, best, (values > limit[:, None] / 2).sum(-1), limit)
    else:
        best = _above_noise(taps, D, best, plain, limit)
    return Realisation(best.system, best.error, relative(best.error, norm), best.repaired)


def _above_noise(taps: Tensor, D: Tensor, best: _Candidate, triplets: Triplets, limit: Tensor) -> _Candidate:
    """Leave out states that only fit the rounding of the taps: the singular values of noise lie close together, far below."""
    values = triplets.values
    drops = values[:, :-1] > DROP * values[:, 1:]
    orders = (drops * torch.arange(1, values.shape[-1])).amax(-1)
    live = (best.system.C != 0).any(-2).sum(-1)
    where = torch.nonzero((orders > 0) & (orders < live))[:, 0]
    if not len(where):
        return best
    some = Triplets(triplets.left[where], values[where], triplets.right[where])
    fewer = _of_orders(taps[where], D[where], some, orders[where])
    allowed = torch.maximum(limit[where], torch.minimum(FLOOR * limit[where], NO_WORSE * best.error[where]))
    found = _put(best, fewer, where, (fewer.error <= allowed) & (fewer.repaired <= best.repaired[where]))
    return replace(found, system=_without_spare(found.system))


def _thinned(taps: Tensor, best: _Candidate, needed: Tensor, limit: Tensor) -> _Candidate:
    """Take out the states of SISO channels that their responses do not need."""
    live = (best.system.C != 0).any(-2)
    where = torch.nonzero(live.sum(-1) > needed.clamp_min(1))[:, 0]
    if not len(where):
        return best
    some, allowed = taps[where], torch.maximum(limit[where], best.error[where])

    def fitted(index: Tensor, poles: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
        return fit_outputs(some[index], poles, kept.to(poles)[..., None])

    radius = math.exp(-1 / (HORIZONS_REMEMBERED * taps.shape[-1]))
    poles, kept = thinned(
        some[:, 0, 0], best.system.poles[where], live[where], needed[where].clamp_min(1), allowed, radius,
        lambda index, poles, kept: fitted(index, poles, kept)[1],
    )  # fmt: skip
    every = torch.arange(len(where))
    C, error = fitted(every, poles, kept)
    improved = (error <= allowed) & (kept.sum(-1) < live[where].sum(-1))
    poles = torch.where(kept, poles, torch.zeros_like(poles))
    order = canonical_order(poles)
    C = torch.where(kept[:, None], C, torch.zeros_like(C)).take_along_dim(order[:, None], -1)
    thinner = System(poles.gather(-1, order), best.system.B[where], C, best.system.D[where])
    chosen = where[improved]

    def merged(a: Tensor, b: Tensor) -> Tensor:
        result = a.clone()
        result[chosen] = b[improved]
        return result

    system = _without_spare(best.system.mapped(merged, thinner))
    return _Candidate(system, merged(best.error, error), best.repaired)


def _without_spare(system: System) -> System:
    """Return systems without states that none of them needs, all of which stand at zero."""
    live = (system.C != 0).any(-2)
    most = max(1, int(live.sum(-1).max()))
    places = torch.argsort((~live).to(torch.int8), dim=-1, stable=True)[..., :most].sort(-1).values
    poles, C = system.poles.gather(-1, places), system.C.take_along_dim(places[:, None], -1)
    return System(poles, system.B.take_along_dim(places[..., None], -2), C, system.D)


def continued(taps: Tensor) -> Tensor:
    """Return responses that are cut off at their end, continued so that they die away smoothly.

    The taps after the last one are free, and a realisation may let them grow.  The tapered reflection of the taps before it is as
    smooth as the response itself.  Zeros follow for as long again: the last block of U is zero, and A is a contraction without
    any pole outside.
    """
    reach = max(1, int(REACH * taps.shape[-1]))
    step = torch.arange(1, reach + 1, dtype=torch.float64) / (reach + 1)
    # Infinitely smooth at both ends.
    taper = torch.sigmoid(1 / step - 1 / (1 - step))
    reflected = 2 * taps[..., -1:] - taps[..., -reach - 1 : -1].flip(-1)
    whole = torch.cat((taps, reflected * taper), dim=-1)
    return torch.cat((whole, torch.zeros_like(whole)), dim=-1)


def _grown(taps: Tensor, D: Tensor, triplets: Triplets, orders: Tensor, limit: Tensor, largest_order: int) -> _Candidate:
    """Realise with the given orders, and with more states where the error is above the limit."""
    most = min(largest_order, triplets.values.shape[-1])
    orders = orders.clamp(1, most)
    best = _of_orders(taps, D, triplets, orders)
    for _ in range(ROUNDS):
        again = torch.nonzero((best.error > limit) & (orders < most))[:, 0]
        if not len(again):
            break
        orders[again] = (orders[again] * GROWTH).ceil().to(torch.int64).clamp(max=most)
        some = Triplets(triplets.left[again], triplets.values[again], triplets.right[again])
        best = _better(best, _of_orders(taps[again], D[again], some, orders[again]), again)
    return best


def _triplets(taps: Tensor, limit: Tensor, largest_order: int) -> Triplets:
    """Return the singular triplets that matter, and a few more."""
    hankel = hankel_of(taps)
    width = FIRST_WIDTH
    while True:
        width = min(width, largest_order)
        triplets = leading_triplets(hankel, width + SPARE)
        enough = triplets.values.shape[-1] < width + SPARE or bool((triplets.values[:, width - 1] < limit / 4).all())
        if enough or width == largest_order:
            return triplets
        width *= 2


@dataclass(frozen=True, eq=False)
class _Candidate:
    system: System
    error: Tensor
    repaired: Tensor


def _of_orders(taps: Tensor, D: Tensor, triplets: Triplets, orders: Tensor) -> _Candidate:
    """Realise each response with its own number of states; those beyond stand at zero, without input and output."""
    order = int(orders.max())
    spare = torch.arange(order) >= orders[:, None]
    U = triplets.left[:, :, :order].masked_fill(spare[:, None, :, None], 0.0)
    before, after = (x.transpose(1, 2).flatten(2) for x in (U[..., :-1], U[..., 1:]))
    # The Gram matrix is the identity less what the last block holds: as well conditioned as the shift itself is determined.
    gram = before @ before.mT + torch.diag_embed(spare.to(U))
    # The driver that torch takes otherwise gives other bits at each call.
    A = torch.linalg.lstsq(gram, before @ after.mT, driver="gelsd").solution
    A = torch.where(torch.isfinite(A).all(-1, keepdim=True).all(-2, keepdim=True), A, torch.zeros_like(A))
    if taps.shape[1] == taps.shape[2] == 1:
        poles = eigenvalues(A)
        poles = poles.gather(-1, canonical_order(poles))
        B = torch.ones_like(poles)[..., None]
        zero = poles == 0
        # Which of the poles at zero are spare makes no difference.
        excess = (zero.sum(-1) - spare.sum(-1))[:, None]
        live = ~zero | (zero.cumsum(-1) <= excess)
    else:
        first = triplets.values[:, :order, None] * triplets.right[:, :, :order, 0].mT
        modal = to_modal(DenseSystem(A, first.masked_fill(spare[..., None], 0.0), U[..., 0], D))
        poles, B = modal.poles, modal.B
        size = B.norm(dim=-1, keepdim=True)
        live = size[..., 0] > 0
        # Rows of one size: what a mode weighs is in its output.
        B = B / size.where(size > 0, torch.ones_like(size))
    radius = math.exp(-1 / (HORIZONS_REMEMBERED * taps.shape[-1]))
    outside = poles.abs() >= 1
    poles = torch.where(outside, into_disc(poles, radius), poles)
    C, error = fit_outputs(taps, poles, B * live[..., None])
    return _Candidate(System(poles, B, C, D), error, outside.sum(-1))


def fit_outputs(taps: Tensor, poles: Tensor, B: Tensor) -> tuple[Tensor, Tensor]:
    """Fit output maps to taps by least squares: ``taps[k]`` near ``C diag(poles)^k B``.

    Parameters
    ----------
    taps
        ``(batch, p, m, length)`` float64.
    poles, B
        ``(batch, n)`` and ``(batch, n, m)`` complex128, stable, conjugate-closed, in canonical order.

    Returns
    -------
    C, error
        ``(batch, p, n)`` complex128, zero where B is, and the roots of the energies left, ``(batch,)`` float64.
    """
    paired = poles.imag != 0
    gram = (B @ B.mT) * window_sum(poles, poles, taps.shape[-1])
    gram = real_gram(gram, paired)
    scale = gram.diagonal(dim1=-2, dim2=-1).clamp_min(0)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale)).rsqrt()
    normalised = scaled(gram, scale)
    eye = torch.eye(gram.shape[-1], dtype=gram.dtype)
    # A shift of its own where rounding has left the matrix indefinite.
    shift = 2 * (-torch.linalg.eigvalsh(normalised)[..., 0]).clamp_min(0)
    powers = pole_sequences(poles, taps.shape[-1])
    C = poles.new_zeros((*taps.shape[:2], poles.shape[-1]))
    left, whole = taps, taps.square().sum((-3, -2, -1))
    best = energy = whole
    for ridge in RIDGES:
        L = torch.linalg.cholesky(normalised + (ridge + shift)[..., None, None] * eye)
        along = (left.to(powers) @ powers.mT[:, None]) * B.mT[:, None]
        target = real_rows(along.sum(-2).mT, paired).real * scale[..., None]
        trial = C + complex_columns((torch.cholesky_solve(target, L) * scale[..., None]).mT, paired)
        rest = taps - ((trial[:, :, None, :] * B.mT[:, None]) @ powers[:, None]).real
        remaining = rest.square().sum((-3, -2, -1))
        size = (trial.abs() / scale[:, None, :]).norm(dim=-2).sum(-1)
        noise = (NOISE * size).square()
        bounded = (size.square() <= LARGEST_SIZE**2 * whole) | (remaining <= WORTHWHILE**2 * whole)
        improved = (remaining + noise < best) & bounded
        C = torch.where(improved[:, None, None], trial, C)
        left = torch.where(improved[:, None, None, None], rest, left)
        energy = torch.where(improved, remaining, energy)
        best = torch.where(improved, remaining + noise, best)
    return C, energy.sqrt()


def _padded(system: System, order: int) -> System:
    """Add spare states at zero, up to the order."""
    more = order - system.order
    if not more:
        return system
    poles = torch.nn.functional.pad(system.poles, (0, more))
    B = torch.nn.functional.pad(system.B, (0, 0, 0, more), value=1.0 if system.is_siso else 0.0)
    C = torch.nn.functional.pad(system.C, (0, more))
    index = canonical_order(poles)
    return System(
        poles.gather(-1, index),
        B.gather(-2, index[..., None].expand_as(B)),
        C.gather(-1, index[..., None, :].expand_as(C)),
        system.D,
    )


def _better(best: _Candidate, other: _Candidate, where: Tensor) -> _Candidate:
    """Return the better candidate of each system; ``other`` holds the systems at ``where``."""
    return _put(best, other, where, other.error < best.error[where])


def _put(best: _Candidate, other: _Candidate, where: Tensor, improved: Tensor) -> _Candidate:
    """Return the candidates with some of those at ``where`` replaced by others."""
    order = max(best.system.order, other.system.order)
    ours, theirs = _padded(best.system, order), _padded(other.system, order)
    chosen = where[improved]

    def merged(a: Tensor, b: Tensor) -> Tensor:
        result = a.clone()
        result[chosen] = b[improved]
        return result

    return _Candidate(ours.mapped(merged, theirs), merged(best.error, other.error), merged(best.repaired, other.repaired))
