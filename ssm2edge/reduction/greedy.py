"""Starts for the refinement: sections picked greedily from a dictionary, by what they capture of the target.

The projected error has many local minima: which of the original's resonances share a reduced one is a combinatorial choice.  The
dictionary of a channel holds its own modes, the same modes broadened (for one section that stands for several), and some
pairs of real poles.  Picking is orthogonal least squares on the Gram matrix: after each pick the rest is projected off it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ssm2edge.reduction.newton import Channels, correlations
from ssm2edge.reduction.sections import Sections
from ssm2edge.systems.division import TINY
from ssm2edge.systems.gram import real_gram, scaled
from ssm2edge.systems.real_coordinates import real_rows
from ssm2edge.systems.window import window_sum

# Widths, relative to the original mode's, of the dictionary's pairs; decays, relative to the median one, of its real poles.
WIDTHS = (1.0, 3.0)
DECAYS = ((0.5, 2.0), (1.0, 8.0), (4.0, 32.0), (16.0, 128.0))
# A direction with less than this share of its energy left after projection is spent.
SPENT = 1e-6
# Channels whose dictionaries are made at a time: their matrices stay in the cache.
BLOCK = 16


@dataclass(frozen=True, eq=False)
class Dictionary:
    """Candidate sections, their normalised real Gram matrices and correlations with the target.

    Attributes
    ----------
    atoms
        Sections of ``(batch, 2 d)`` states: d candidates of two states each.
    gram, target, scale
        ``(batch, 2 d, 2 d)`` and ``(batch, 2 d)``, in real coordinates of unit norm, and the factors that brought them there.
    """

    atoms: Sections
    gram: Tensor
    target: Tensor
    scale: Tensor

    def __getitem__(self, index: Tensor) -> Dictionary:
        return Dictionary(self.atoms[index], self.gram[index], self.target[index], self.scale[index])


def real_products(poles: Tensor, paired: Tensor, channels: Channels) -> tuple[Tensor, Tensor, Tensor]:
    """Return Gram matrix and target correlations of sampled exponentials in real coordinates, and the factors to unit norm."""
    gram = real_gram(window_sum(poles, poles, channels.horizon), paired)
    target = correlations(channels, window_sum(channels.poles, poles, channels.horizon), paired)
    diagonal = gram.diagonal(dim1=-2, dim2=-1)
    largest = torch.maximum(diagonal, diagonal.roll(1, -1)).clamp_min(TINY)
    # A coordinate that is rounding next to its partner (a pair on the real axis) is left at zero.
    scale = torch.where(diagonal > 1e-10 * largest, diagonal.clamp_min(TINY).rsqrt(), torch.zeros_like(diagonal))
    target = real_rows(target[..., None], paired)[..., 0].real * scale
    return scaled(gram, scale), target, scale


def dictionary_of(channels: Channels, slowest: float) -> Dictionary:
    """Return the dictionary of each channel."""
    logs = torch.log(channels.poles.where(channels.poles != 0, torch.full_like(channels.poles, 1e-18)))
    decay, theta = (-logs.real).clamp_min(1e-9), logs.imag.abs()
    typical = decay.median(-1, keepdim=True).values
    theta = torch.minimum(torch.maximum(theta, 0.2 * decay.clamp_max(1.0)), torch.full_like(theta, math.pi - 1e-6))
    pairs = [torch.stack((torch.log(decay * width), theta), -1).flatten(-2) for width in WIDTHS]
    reals = [torch.log(torch.cat((typical * a, typical * b), -1)) for a, b in DECAYS]
    parameters = torch.cat((*pairs, *reals), -1).contiguous()
    paired = (torch.arange(parameters.shape[-1]) < 2 * len(WIDTHS) * theta.shape[-1]).expand(parameters.shape)
    # moved() clips the parameters into their range.
    atoms = Sections(parameters, paired, torch.zeros_like(paired), slowest).moved(torch.zeros_like(parameters))
    poles, blocks = atoms.poles(), [slice(i, i + BLOCK) for i in range(0, len(parameters), BLOCK)]
    pieces = [real_products(poles[block], paired[block], channels[block]) for block in blocks]
    return Dictionary(atoms, *(torch.cat([piece[i] for piece in pieces]) for i in range(3)))


def blocks_of(gram: Tensor) -> Tensor:
    """Return the 2 x 2 diagonal blocks of Gram matrices, ``(batch, d, 2, 2)``."""
    diagonal, beside = gram.diagonal(dim1=-2, dim2=-1), gram.diagonal(offset=1, dim1=-2, dim2=-1)[..., 0::2]
    return torch.stack((diagonal[..., 0::2], beside, beside, diagonal[..., 1::2]), -1).reshape(*beside.shape, 2, 2)


def block_roots(blocks: Tensor) -> Tensor:
    """Return R with ``R^T block R = 1`` (zero columns where a direction is spent), upper triangular, ``(batch, d, 2, 2)``."""
    a, b, d = blocks[..., 0, 0], blocks[..., 0, 1], blocks[..., 1, 1]
    first = torch.where(a > SPENT, a.clamp_min(SPENT).rsqrt(), torch.zeros_like(a))
    slope = b * first.square()
    rest = d - b * slope
    second = torch.where(rest > SPENT, rest.clamp_min(SPENT).rsqrt(), torch.zeros_like(a))
    return torch.stack((first, -slope * second, torch.zeros_like(a), second), -1).reshape(*a.shape, 2, 2)


def gains(blocks: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return the energy that each atom would capture, ``(batch, d)``, and the roots of :func:`block_roots`."""
    roots = block_roots(blocks)
    return (roots.mT @ target.reshape(*target.shape[:-1], -1, 2)[..., None]).square().sum((-2, -1)), roots


def pick(dictionary: Dictionary, count: int, noise: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Pick sections one after the other.

    Parameters
    ----------
    noise
        Standard deviation of the logarithm by which gains are perturbed: zero is plain greed.

    Returns
    -------
    picked, captured
        Indices of atoms ``(batch, count)``, and the energy captured by them, ``(batch,)``.
    """
    gram, target = dictionary.gram, dictionary.target
    blocks = blocks_of(gram)
    rows = torch.arange(len(target))
    # Inner products of the atoms with the orthonormal directions picked so far: all that projecting them off needs.
    along = torch.zeros((*target.shape, 2 * count), dtype=torch.float64)
    picked, captured = [], torch.zeros(len(target), dtype=torch.float64)
    for k in range(count):
        gain, roots = gains(blocks, target)
        atom = (gain * _factors(gain, noise, generator)).argmax(-1)
        picked.append(atom)
        captured = captured + gain[rows, atom]
        if k + 1 < count:
            columns = torch.stack((gram[rows, 2 * atom], gram[rows, 2 * atom + 1]), -1)
            mine = torch.stack((along[rows, 2 * atom], along[rows, 2 * atom + 1]), -1)
            columns = (columns - along[..., : 2 * k] @ mine[..., : 2 * k, :]) @ roots[rows, atom]
            own = torch.stack((target[rows, 2 * atom], target[rows, 2 * atom + 1]), -1)
            target = target - (columns @ (roots[rows, atom].mT @ own[..., None]))[..., 0]
            along[..., 2 * k : 2 * k + 2] = columns
            pairs = columns.reshape(len(columns), -1, 2, 2)
            blocks = blocks - pairs @ pairs.mT
    return torch.stack(picked, -1), captured


def picked_sections(dictionary: Dictionary, picked: Tensor, order: int) -> Sections:
    """Return the picked atoms as sections of the given order; of an odd order's last atom only the first state stays, real."""
    states = torch.stack((2 * picked, 2 * picked + 1), -1).flatten(-2)[..., :order]
    atoms = dictionary.atoms
    parameters, paired = atoms.parameters.gather(-1, states), atoms.paired.gather(-1, states)
    if order % 2:
        last = torch.arange(order) == order - 1
        paired = paired & ~last
    return Sections(parameters, paired, torch.zeros_like(paired), atoms.slowest)


def _factors(x: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    """Return log-normal factors of the given spread, of the shape of x."""
    if noise == 0:
        return torch.ones_like(x)
    return torch.exp(noise * torch.randn(x.shape, dtype=torch.float64, generator=generator))
