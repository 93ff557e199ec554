"""Poles in 16 bits a number, in coordinates that suit slow modes and sharp resonances alike.

A conjugate pair is the square root of ``1 - |p|`` and that of the tangent of half its angle, counted from the real axis on the
side where it lies; a real pole is the square root of ``(1 - p) / 2``.  All have even steps, so that slow decays and low
frequencies have fine ones.  The way back is products, sums and one quotient, each rounded to float32: the same numbers
everywhere, to the last bit, and of these numbers the codes are found again.
"""

from __future__ import annotations

import torch
from torch import Tensor

UNIT = 2.0**-15
"""Size of a step."""

SLOWEST, MOST = 192, 32767
"""Codes of decays, at least: below, float32 tells neighbours no longer apart.  And of all, at most."""


def codes_of(a: Tensor, b: Tensor) -> Tensor:
    """Return the codes nearest to the poles of a bank.

    Parameters
    ----------
    a, b
        ``(*batch, n)``, n even: coefficients of the unit-input real form (:mod:`ssm2edge.systems.real_form`).

    Returns
    -------
    Tensor
        ``(*batch, n / 2, 2)`` int16: decay, negative, and angle of a pair; or two real poles, none negative.
    """
    real, imaginary = (x.double().reshape(*x.shape[:-1], -1, 2) for x in (a, b))
    height = imaginary[..., 1]
    modulus = torch.hypot(real[..., 0], height)
    decay = _code((1 - modulus).clamp_min(0).sqrt(), SLOWEST)
    tangent = _code((height.abs() / (modulus + real[..., 0].abs()).clamp_min(1e-30)).sqrt(), 1)
    pairs = torch.stack((-decay, torch.where(real[..., 0] < 0, -tangent, tangent)), dim=-1)
    singles = _code(((1 - real) / 2).clamp_min(0).sqrt(), SLOWEST)
    return torch.where((height != 0)[..., None], pairs, singles).to(torch.int16)


def coefficients_of(codes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the coefficients a and b ``(*batch, n)`` float32 of codes, in the arithmetic of the graphs."""
    share = codes.float() * UNIT
    square = share * share
    paired = share[..., :1] < 0
    distance, tangent = square[..., :1], square[..., 1:]
    its_square = tangent * tangent
    radius = (1 - distance) / (1 + its_square)
    along = radius * (1 - its_square) * share[..., 1:].sign()
    across = radius * tangent * 2
    a = torch.where(paired, along, 1 - 2 * square)
    b = torch.where(paired, across * torch.tensor([-1.0, 1.0]), torch.zeros(()))
    return a.flatten(-2), b.flatten(-2)


def _code(share: Tensor, least: int) -> Tensor:
    return (share / UNIT).round().clamp(least, MOST)
