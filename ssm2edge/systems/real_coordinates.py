"""The way between modal coordinates and real ones, section by section.

The unitary U turns the two states (x, conj x) of each conjugate pair into sqrt(2) (Re x, Im x) and leaves real states alone.
It is block diagonal with blocks of two, so that products with it are sums of neighbouring rows: no matrix product is needed.
"""

from __future__ import annotations

import torch
from torch import Tensor


def swap_indices(order: int) -> list[int]:
    """Return the permutation that exchanges the two states of each section; an odd last state stays."""
    return [j ^ 1 if (j ^ 1) < order else j for j in range(order)]


def swapped(x: Tensor) -> Tensor:
    """Return x with the two states of each section exchanged along the last axis."""
    return x[..., swap_indices(x.shape[-1])]


def real_rows(X: Tensor, paired: Tensor) -> Tensor:
    """Return ``U X`` for the states in conjugate pairs that ``paired`` names, ``X`` being ``(*batch, n, m)``."""
    n = X.shape[-2]
    if n < 2:
        return X
    even = n - n % 2
    x, y = X[..., 0:even:2, :], X[..., 1:even:2, :]
    pair = paired[..., 0:even:2, None]
    half = 0.5**0.5
    rows = torch.stack((torch.where(pair, half * (x + y), x), torch.where(pair, -1j * half * (x - y), y)), dim=-2).flatten(-3, -2)
    return rows if even == n else torch.cat((rows, X[..., even:, :]), dim=-2)


def modal_rows(X: Tensor, paired: Tensor) -> Tensor:
    """Return ``U^H X``: the inverse of :func:`real_rows`."""
    n = X.shape[-2]
    X = X.to(torch.complex128)
    even = n - n % 2
    x, y = X[..., 0:even:2, :], X[..., 1:even:2, :]
    pair = paired[..., 0:even:2, None]
    half = 0.5**0.5
    rows = torch.stack((torch.where(pair, half * (x + 1j * y), x), torch.where(pair, half * (x - 1j * y), y)), dim=-2)
    return torch.cat((rows.flatten(-3, -2), X[..., even:, :]), dim=-2)


def complex_columns(Y: Tensor, paired: Tensor) -> Tensor:
    """Return ``Y U``: from real coordinates back to modal ones."""
    n = Y.shape[-1]
    Y = Y.to(torch.complex128)
    if n < 2:
        return Y
    even = n - n % 2
    x, y = Y[..., 0:even:2], Y[..., 1:even:2]
    pair = paired[..., None, 0:even:2]
    half = 0.5**0.5
    first = torch.where(pair, half * (x - 1j * y), x)
    second = torch.where(pair, half * (x + 1j * y), y)
    columns = torch.stack((first, second), dim=-1).flatten(-2)
    return columns if even == n else torch.cat((columns, Y[..., even:]), dim=-1)


def times_diagonal(multipliers: Tensor, X: Tensor) -> Tensor:
    """Return ``U diag(multipliers) U^H X`` for real X: what scales the modes turns and scales each pair's two real states.

    Parameters
    ----------
    multipliers
        ``(*batch, n)`` complex128, closed under conjugation in canonical order: poles, or a real function of them.
    X
        ``(*batch, n, m)`` float64.
    """
    turned = X * multipliers.real[..., None]
    n = X.shape[-2]
    even = n - n % 2
    # A real mode's imaginary part is zero: its rows do not mix.
    turn = multipliers.imag[..., 0:even:2, None]
    turned[..., 0:even:2, :] -= turn * X[..., 1:even:2, :]
    turned[..., 1:even:2, :] += turn * X[..., 0:even:2, :]
    return turned
