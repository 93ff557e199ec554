"""Products of exponentials under the spectrum of an input, from its autocorrelation.

With rho(m) = sum_w S(w) cos(w m), sequences x and y have the product ``sum_kl x_k y_l rho(k - l)``.  For x_k = p^k and y_l = q^l,
k and l below N, the sums over each diagonal are geometric,

    s(p, q) = (rho_0 (1 - z^N) + A(p) + A(q) - p^N C(q) - q^N C(p)) / (1 - z),      z = p q
    A(p) = sum_m rho(m) p^m,      C(p) = sum_m rho(N - m) p^m,      0 < m < N

so that the products of all pairs of poles cost two polynomials for each pole.  Derivatives by log p and log q follow from
``(1 - z) s``.  Poles are kept so far from the circle (:mod:`ssm2edge.reduction.sections`) that the quotient loses few digits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ssm2edge.systems.response import pole_sequences
from ssm2edge.systems.window import pole_powers

NEAREST = 1e-13
"""Distance of z from one, below which it is taken to be that far: poles of integrators, whose products nothing depends on."""


@dataclass(frozen=True, eq=False)
class Moments:
    """Autocorrelations of weights, and correlations with a target, of some channels.

    Attributes
    ----------
    rows
        ``(channels, 3, blocks, block)`` float64: the coefficients ``rho(m + 1)``, ``rho(N - m)`` (zero at m = 0) and
        ``<target, delta_(m+1)>`` of polynomials of degree below N, in blocks of powers; zeros behind the last.
    white, last, straight, energy
        ``(channels,)``: rho(0), rho(N), the product of the target with the first tap, and with itself.
    taps
        N.
    feedthrough
        False if nothing answers with the first tap: its products are zero.
    """

    rows: Tensor
    white: Tensor
    last: Tensor
    straight: Tensor
    energy: Tensor
    taps: int
    feedthrough: bool = True

    def __getitem__(self, index: Tensor | slice, /) -> Moments:
        rows, white, last, straight, energy = (
            part[index] for part in (self.rows, self.white, self.last, self.straight, self.energy)
        )
        return Moments(rows, white, last, straight, energy, self.taps, self.feedthrough)


def moments_of(response: Tensor, weight: Tensor, taps: int, feedthrough: bool = True) -> Moments:
    """Return the moments of targets at the frequencies ``pi f / (taps + 1)``, f = 0 .. taps + 1.

    Parameters
    ----------
    response, weight
        ``(channels, taps + 2)``: the spectra of the targets, and the weight of each frequency; all but the first and the last
        stand for two.
    taps
        Taps after the first.
    feedthrough
        Whether the bank has one.
    """
    points = 2 * (taps + 1)
    halves = torch.full((taps + 2,), 0.5, dtype=torch.float64)
    halves[0] = halves[-1] = 1.0
    rho = points * torch.fft.irfft((weight * halves).to(torch.complex128), n=points)[:, : taps + 1]
    cross = points * torch.fft.irfft(response * (weight * halves), n=points)[:, : taps + 1]
    backwards = rho.flip(-1)[:, :-1].clone()
    backwards[:, 0] = 0
    block = max(1, math.isqrt(taps))
    padded = -(-taps // block) * block
    rows = rho.new_zeros((len(rho), 3, padded))
    for place, values in enumerate((rho[:, 1:], backwards, cross[:, 1:])):
        rows[:, place, :taps] = values
    energy = (weight * response.abs().square()).sum(-1)
    # No views: the long sequences they would belong to can go.
    ends = (rho[:, 0].clone(), rho[:, -1].clone(), cross[:, 0].clone() * feedthrough)
    return Moments(rows.view(len(rho), 3, -1, block), *ends, energy, taps, feedthrough)


@dataclass(frozen=True, eq=False)
class Products:
    """Products of the sequences ``p^k``, of their derivatives by log p (dashed), of the first tap and of the target.

    ``own`` is ``<p_i, p_j>``, ``half`` is ``<p_i, p_j'>``, ``slopes`` is ``<p_i', p_j'>``, ``(channels, r, r)``; ``first``,
    ``first_slopes``, ``target`` and ``target_slopes`` are ``(channels, r)``, all complex128 and bilinear in the poles.
    """

    own: Tensor
    half: Tensor
    slopes: Tensor
    first: Tensor
    first_slopes: Tensor
    target: Tensor
    target_slopes: Tensor


def products_of(moments: Moments, poles: Tensor) -> Products:
    """Return the products for poles ``(channels, r)`` complex128."""
    N = moments.taps
    (b, e, h), (b1, e1, h1) = _polynomials(moments.rows, poles)
    white, last, power = moments.white[:, None, None], moments.last[:, None], pole_powers(poles, N)
    # A(p) from rho(m + 1): one power more, without the last term.
    A = poles * b - last * power
    A1 = poles * (b + b1) - N * last * power
    p, z = power[..., :, None], poles[..., :, None] * poles[..., None, :]
    q, zN = p.mT, p * p.mT
    rest = 1 - z
    rest = 1 / torch.where(rest.abs() < NEAREST, torch.full_like(rest, NEAREST), rest)
    C, C1, e, e1 = e[..., :, None], e1[..., :, None], e[..., None, :], e1[..., None, :]
    own = (white * (1 - zN) + A[..., :, None] + A[..., None, :] - p * e - q * C) * rest
    z_own = z * own
    half = (A1[..., None, :] - N * white * zN - p * e1 - N * q * C + z_own) * rest
    slopes = (z_own + z * (half + half.mT) - N * (N * white * zN + p * e1 + q * C1)) * rest
    first, first_slopes = (x * moments.feedthrough for x in (b, b1))
    return Products(own, half, slopes, first, first_slopes, h, h1)


def _polynomials(rows: Tensor, poles: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Return ``sum_m x_m p^m`` and ``sum_m m x_m p^m`` of each row x, ``(channels, r)``.

    Powers within a block times powers of whole blocks: the sums within all blocks are one product of matrices.
    """
    channels, kinds, blocks, block = rows.shape
    r = poles.shape[-1]
    inner = pole_sequences(poles, block).mT
    places = torch.arange(block, dtype=torch.float64)[:, None]
    table = torch.view_as_real(torch.cat((inner, places * inner), dim=-1)).flatten(-2)
    within = torch.view_as_complex((rows.view(channels, kinds * blocks, block) @ table).view(channels, kinds, blocks, 2 * r, 2))
    outer = pole_sequences(pole_powers(poles, block), blocks).mT[:, None]
    before = block * torch.arange(blocks, dtype=torch.float64)[:, None]
    values = (outer * within[..., :r]).sum(-2)
    slopes = (outer * (before * within[..., :r] + within[..., r:])).sum(-2)
    return values.unbind(1), slopes.unbind(1)
