"""Steps of rounded weights: how far apart neighbouring values of each row are."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ssm2edge.quantisation.grid import MOST, SIGNIFICANT, group_of

TRIED = 24
"""Steps that are tried for each group of 3 or 4 bits beside that of its largest number, with either sign."""


@dataclass(frozen=True, eq=False)
class Steps:
    """The values that a weight may have.

    Attributes
    ----------
    sizes
        ``(rows, groups)`` float64, of eleven significant bits; negative ones turn the integers round.
    bits
        3, 4 or 8.
    columns
        Of the weight.
    """

    sizes: Tensor
    bits: int
    columns: int

    @property
    def each(self) -> Tensor:
        """The step of every number, ``(rows, columns)``."""
        return self.sizes.repeat_interleave(self.columns // self.sizes.shape[1], dim=1)

    def nearest(self, matrix: Tensor) -> Tensor:
        """Return the nearest value of each number."""
        return _nearest(matrix, self.each, self.bits)

    def __getitem__(self, column: int) -> Tensor:
        return self.sizes[:, column * self.sizes.shape[1] // self.columns]

    def nearest_in(self, column: int, values: Tensor) -> Tensor:
        """Return the nearest value of each number of one column."""
        return _nearest(values, self[column], self.bits)


def _nearest(values: Tensor, step: Tensor, bits: int) -> Tensor:
    most = MOST[bits]
    whole = torch.where(step != 0, values / torch.where(step != 0, step, torch.ones_like(step)), torch.zeros_like(values)).round()
    return whole.clamp(-most, min(most, (1 << bits - 1) - 1)) * step


def steps_of(matrix: Tensor, bits: int, weight: Tensor | None = None) -> Steps:
    """Return steps that suit a matrix.

    In 8 bits no number is cut off: each is at most half a step from its nearest value.  In fewer the step of each group is the
    one of several with the smallest squared error.

    Parameters
    ----------
    matrix
        ``(rows, columns)`` float64.
    bits
        3, 4 or 8.
    weight
        ``(columns,)``: how much an error of each column counts; all alike where it is not given.
    """
    rows, columns = matrix.shape
    size = group_of(columns, bits)
    groups = matrix.reshape(rows, -1, size)
    largest = groups.abs().amax(dim=-1)
    if bits == 8:
        return Steps(_shortened(largest / MOST[8], up=True), bits, columns)
    counts = torch.ones(columns, dtype=matrix.dtype) if weight is None else weight
    counts = counts.reshape(-1, size)
    best, least = torch.zeros_like(largest), torch.full_like(largest, torch.inf)
    for share in (MOST[bits] / (MOST[bits] - 1), *torch.linspace(1.15, 0.45, TRIED, dtype=torch.float64).tolist()):
        for sign in (1.0, -1.0):
            step = _shortened(sign * share * largest / MOST[bits])
            error = ((groups - _nearest(groups, step[..., None], bits)).square() * counts).sum(-1)
            better = error < least
            best, least = torch.where(better, step, best), torch.where(better, error, least)
    return Steps(best, bits, columns)


def _shortened(sizes: Tensor, up: bool = False) -> Tensor:
    """Round to eleven significant bits."""
    exponent = torch.frexp(sizes).exponent
    scale = torch.ldexp(torch.ones_like(sizes), SIGNIFICANT - exponent)
    return (torch.ceil(sizes * scale) if up else torch.round(sizes * scale)) / scale
