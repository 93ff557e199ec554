"""Sums over the time window on which every norm and Gramian of a modal system rests.

    s(q) = sum_{k=0}^{N-1} q^k = (1 - q^N) / (1 - q),        q = left_i * right_j,

and its derivatives with respect to log q, ``s1 = sum k q^k`` and ``s2 = sum k^2 q^k``.  Each follows from the one before:

    s1 = (q s - N q^N) / (1 - q)        s2 = (q s + 2 q s1 - N^2 q^N) / (1 - q)

Near q = 1 the quotients cancel; there the binomial series in q - 1 takes over.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Below N |1 - q| = SERIES_RADIUS the series is used; SERIES_TERMS makes its remainder smaller than the rounding of the quotient.
SERIES_RADIUS = 0.25
SERIES_TERMS = 13
# Sums of more elements are computed in blocks of about this many, which stay in the processor's cache.
BLOCK = 32_768


def check_horizon(horizon: int | None) -> None:
    """Raise ``ValueError`` unless the horizon is None (infinite) or a positive number of taps."""
    if horizon is not None and (isinstance(horizon, bool) or not isinstance(horizon, int) or horizon < 1):
        raise ValueError(f"the horizon must be a positive number of taps, or None for the infinite one, not {horizon!r}.")


def pole_powers(poles: Tensor, exponent: int) -> Tensor:
    """Return ``poles ** exponent`` by repeated squaring: exact at zero, and off by about ``exponent`` roundings at most."""
    result, square = torch.ones_like(poles), poles
    while exponent:
        if exponent & 1:
            result = result * square
        exponent >>= 1
        if exponent:
            square = square * square
    return result


def window_sum(left: Tensor, right: Tensor, horizon: int | None) -> Tensor:
    """Return ``sum_k (left_i right_j)^k`` over the window.

    Parameters
    ----------
    left, right
        ``(*batch, n)`` and ``(*batch, r)`` complex128 poles.
    horizon
        Number of taps N; None is the infinite horizon, for which every product must lie inside the unit disc.

    Returns
    -------
    Tensor
        ``(*batch, n, r)`` complex128.
    """
    batch, elements = left.shape[0], left.shape[-1] * right.shape[-1]
    # One system is not divided further, however many products it has.
    if left.dim() == 2 and right.dim() == 2 and right.shape[0] == batch > 1 and batch * elements > 2 * BLOCK:
        length = max(1, BLOCK // elements)
        result = torch.empty((batch, left.shape[-1], right.shape[-1]), dtype=left.dtype)
        for i in range(0, batch, length):
            result[i : i + length] = window_sum(left[i : i + length], right[i : i + length], horizon)
        return result
    q = left[..., :, None] * right[..., None, :]
    if horizon is None:
        return 1 / (1 - q)
    last, rest = pole_powers(left, horizon)[..., :, None] * pole_powers(right, horizon)[..., None, :], 1 - q
    s = (1 - last) / rest
    near = _near(rest, horizon)
    if near.any():
        s[near] = _series(q[near], horizon)[0]
    return s


def geometric_sum(ratio: Tensor, horizon: int) -> Tensor:
    """Return ``sum_{k<N} ratio^k`` of real ratios that are not negative."""
    return window_sum(
        ratio.to(torch.complex128).flatten()[:, None], torch.ones_like(ratio).to(torch.complex128).flatten()[:, None], horizon
    ).real.reshape(ratio.shape)


def window_sums(
    left: Tensor, right: Tensor, horizon: int | None, left_last: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the window sum and its first two derivatives with respect to ``log q``; shapes as in :func:`window_sum`.

    ``left_last`` is ``left ** horizon``, where it is known.
    """
    q = left[..., :, None] * right[..., None, :]
    rest = 1 - q
    scale = 1 / rest
    if horizon is None:
        s1 = q * scale * scale
        return scale, s1, s1 * (1 + q) * scale
    last = (pole_powers(left, horizon) if left_last is None else left_last)[..., :, None]
    last = last * (last.squeeze(-1) if left is right else pole_powers(right, horizon))[..., None, :]
    s = (1 - last) * scale
    qs = q * s
    last = last * horizon
    s1 = (qs - last) * scale
    s2 = (qs + 2 * q * s1 - horizon * last) * scale
    near = _near(rest, horizon)
    if near.any():
        s[near], s1[near], s2[near] = _series(q[near], horizon)
    return s, s1, s2


def _near(rest: Tensor, horizon: int) -> Tensor:
    """Return where ``rest = 1 - q`` is so small that quotients by it cancel; squares spare the roots of moduli."""
    return rest.real.square() + rest.imag.square() < (SERIES_RADIUS / horizon) ** 2


def _series(q: Tensor, horizon: int) -> tuple[Tensor, Tensor, Tensor]:
    """Evaluate the sums by ``s = sum_m binom(N, m + 1) (q - 1)^m`` and its termwise derivatives."""
    step = q - 1
    s, first, second = (torch.zeros_like(q) for _ in range(3))
    # Horner's rule over (value, first derivative, half the second derivative) at once.
    for m in reversed(range(SERIES_TERMS)):
        binomial = 1.0
        for i in range(m + 1):
            binomial *= (horizon - i) / (i + 1)
        second = second * step + first
        first = first * step + s
        s = s * step + binomial
    return s, q * first, q * first + 2 * q * q * second
