"""Gram matrices of modal rows: the way to real coordinates, and the scaling of their diagonals.

Sequences ``pole_i^k`` of conjugate-closed poles have the products ``G_ij = sum_k pole_i^k pole_j^k`` in bilinear form.  With U of
``real_coordinates.py`` the rows of ``U G U^T`` belong to real sequences.
"""

from __future__ import annotations

from torch import Tensor

from ssm2edge.systems.division import TINY
from ssm2edge.systems.real_coordinates import real_rows


def real_gram(gram: Tensor, paired: Tensor) -> Tensor:
    """Return ``U G U^T`` for symmetric G, ``(*batch, n, n)`` float64; ``paired`` marks the states of conjugate pairs."""
    return real_rows(real_rows(gram, paired).mT, paired).real


def real_products(products: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return ``U_rows X U_columns^T``, ``(*batch, n, r)`` float64, for products of two sets of states."""
    return real_rows(real_rows(products, rows).mT, columns).mT.real


def unit_scale(gram: Tensor, floor: float = TINY) -> Tensor:
    """Return the factors ``(*batch, n)`` with which :func:`scaled` brings a Gram matrix to a diagonal of ones."""
    return gram.diagonal(dim1=-2, dim2=-1).clamp_min(floor).rsqrt()


def scaled(gram: Tensor, scale: Tensor) -> Tensor:
    """Return ``diag(scale) gram diag(scale)``."""
    return gram * scale[..., :, None] * scale[..., None, :]
