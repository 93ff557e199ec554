"""Block Hankel operators of impulse responses, and their leading singular triplets.

    H[i, j] = g[i + j],      g[k] = C A^k B  of size (p, m),      H = [C; C A; C A^2; ...] [B, A B, A^2 B, ...]

A system of n states gives H of rank n.  A product with H is a correlation, so FFTs of the response's length replace a matrix of
its square: 16,384 taps need no more memory than the vectors themselves.  The singular triplets come from a randomised range
finder (Halko, Martinsson and Tropp, "Finding structure with randomness", 2011).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.fft import next_fast_len
from torch import Tensor

SEED = 0
PASSES = 1
"""Passes of subspace iteration: the singular values of filters fall fast, and one pass squares their ratios."""


@dataclass(frozen=True, eq=False)
class Hankel:
    """Batch of block Hankel operators ``(rows p) x (columns m)``, as nearly square as the taps allow.

    Attributes
    ----------
    spectra
        ``(batch, p, m, frequencies)`` complex128, of the taps padded to ``points``.
    points, rows, columns
        Length of the transforms, block rows and block columns.
    """

    spectra: Tensor
    points: int
    rows: int
    columns: int

    def times(self, X: Tensor) -> Tensor:
        """Return ``H X``: ``(batch, m, width, columns)`` to ``(batch, p, width, rows)``."""
        return _product(self.spectra, X, self.points, self.rows)

    def transposed_times(self, Y: Tensor) -> Tensor:
        """Return ``H^T Y``: ``(batch, p, width, rows)`` to ``(batch, m, width, columns)``."""
        return _product(self.spectra.transpose(1, 2), Y, self.points, self.columns)


def hankel_of(taps: Tensor) -> Hankel:
    """Return the Hankel operators of the taps after the feedthrough, ``(batch, p, m, taps)`` float64."""
    count = taps.shape[-1]
    points = int(next_fast_len(count, real=True))
    rows = (count + 1) // 2
    return Hankel(torch.fft.rfft(taps, n=points), points, rows, count + 1 - rows)


def _product(spectra: Tensor, X: Tensor, points: int, length: int) -> Tensor:
    transformed = torch.fft.rfft(X, n=points).conj()
    if spectra.shape[2] == 1:
        product = spectra[:, :, 0, None, :] * transformed[:, 0, None, :, :]
    else:
        product = (spectra.permute(0, 3, 1, 2) @ transformed.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    result: Tensor = torch.fft.irfft(product, n=points)[..., :length]
    return result


@dataclass(frozen=True, eq=False)
class Triplets:
    """Leading singular triplets of block Hankel operators.

    Attributes
    ----------
    left
        ``(batch, p, width, rows)``, orthonormal over outputs and rows together.
    values
        ``(batch, width)``, descending.
    right
        ``(batch, m, width, columns)``, orthonormal likewise.
    """

    left: Tensor
    values: Tensor
    right: Tensor


def leading_triplets(hankel: Hankel, width: int) -> Triplets:
    """Return the ``width`` leading singular triplets (all there are, if these are fewer)."""
    batch, outputs, inputs = hankel.spectra.shape[:3]
    width = min(width, hankel.rows * outputs, hankel.columns * inputs)
    generator = torch.Generator().manual_seed(SEED)
    start = torch.randn((1, inputs, width, hankel.columns), dtype=torch.float64, generator=generator)
    Q = _orthonormal(hankel.times(start.expand(batch, -1, -1, -1)))
    for _ in range(PASSES):
        Q = _orthonormal(hankel.times(_orthonormal(hankel.transposed_times(Q))))
    # H is Q Q^T H to the accuracy wanted; Q^T H is small, and its decomposition is exact.
    W, R = torch.linalg.qr(_columns(hankel.transposed_times(Q)))
    left, values, right = torch.linalg.svd(R.mT)
    return Triplets(_blocks(_columns(Q) @ left, outputs), values, _blocks(W @ right.mT, inputs))


def _orthonormal(X: Tensor) -> Tensor:
    return _blocks(torch.linalg.qr(_columns(X)).Q, X.shape[1])


def _columns(X: Tensor) -> Tensor:
    """Return ``(batch, channels, width, length)`` as tall matrices ``(batch, channels length, width)``."""
    return X.transpose(1, 2).flatten(2).mT


def _blocks(X: Tensor, channels: int) -> Tensor:
    return X.mT.reshape(len(X), X.shape[2], channels, -1).transpose(1, 2)
