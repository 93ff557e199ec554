"""Exchanges: one section of each channel is replaced by the atom of the dictionary with which most would be captured.

All exchanges are judged at once, with the other poles as they stand.  Let Phi be the sections, G their Gram matrix, h the target.
What section v alone contributes is the span of its dual vectors ``Phi G^-1 e_v``; with Q_v an orthonormal basis of it, the
exchange of v for an atom a changes what is captured by

    |R^T t|^2 - |Q_v^T h|^2,      t = a^T (h - Phi G^-1 Phi^T h) + (Q_v^T a)^T Q_v^T h

R being a root of the inverse Gram matrix of what is left of a after the sections that stay.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ssm2edge.reduction.greedy import Dictionary, block_roots, blocks_of
from ssm2edge.reduction.newton import Channels, correlations
from ssm2edge.reduction.sections import Sections
from ssm2edge.systems.gram import real_gram, real_products, scaled, unit_scale
from ssm2edge.systems.real_coordinates import real_rows
from ssm2edge.systems.window import window_sum

# Added to the diagonal of normalised Gram matrices of sections, which nearly meet at times.
RIDGE = 1e-11
# An atom within this many of a tried one's widths would end where that one ended.
SAME = 4.0


def untried(dictionary: Dictionary, order: int) -> Tensor:
    """Return the record of exchanges tried, ``(batch, order // 2, d)`` bool: none so far."""
    batch, states = dictionary.target.shape
    return torch.zeros((batch, order // 2, states // 2), dtype=torch.bool)


def exchanged(dictionary: Dictionary, channels: Channels, sections: Sections, tried: Tensor) -> Sections:
    """Return the sections after the most promising exchange of each channel that has not been tried.

    Parameters
    ----------
    tried
        ``(batch, order // 2, d)`` bool, sections by atoms; the exchange made, and those much like it, are marked in it.
    """
    change = changes(dictionary, channels, sections)
    count, atoms = tried.shape[-2:]
    own, width = sections.poles()[:, 0 : 2 * count : 2], sections.decay[:, 0 : 2 * count : 2].clamp_max(1.0)
    candidates = dictionary.atoms.poles()[:, 0::2]
    # The atom nearest to a section would lead back to where it was.
    back = (candidates[:, None, :] - own[..., None]).abs() < width[..., None]
    choice = change.masked_fill(back | tried, -torch.inf).flatten(1).argmax(-1)
    victim, atom = choice // atoms, choice % atoms
    rows = torch.arange(len(choice))
    mine = candidates[rows, atom][:, None]
    alike = (candidates - mine).abs() < SAME * (1 - mine.abs())
    alike[rows, atom] = True
    tried[rows, victim] |= alike
    places = torch.stack((2 * victim, 2 * victim + 1), -1)
    sources = torch.stack((2 * atom, 2 * atom + 1), -1)
    return Sections(
        sections.parameters.scatter(-1, places, dictionary.atoms.parameters.gather(-1, sources)),
        sections.paired.scatter(-1, places, dictionary.atoms.paired.gather(-1, sources)),
        sections.negative.scatter(-1, places, torch.zeros_like(places, dtype=torch.bool)),
        sections.slowest,
    )


def changes(dictionary: Dictionary, channels: Channels, sections: Sections) -> Tensor:
    """Return the change of the energy captured by each exchange, ``(batch, order // 2, d)``; the other poles stay."""
    r = sections.parameters.shape[-1]
    poles, paired, count, batch = sections.poles(), sections.paired, r // 2, len(sections.parameters)
    atoms = dictionary.atoms
    gram = real_gram(window_sum(poles, poles, channels.horizon), paired)
    cross = real_products(window_sum(poles, atoms.poles(), channels.horizon), paired, atoms.paired)
    own_target = correlations(channels, window_sum(channels.poles, poles, channels.horizon), paired)
    own_target = real_rows(own_target[..., None], paired).real
    scale = unit_scale(gram)
    gram = scaled(gram, scale) + RIDGE * torch.eye(r, dtype=torch.float64)
    inverse = torch.linalg.inv(gram)
    residues = inverse @ (own_target * scale[..., None])
    columns = cross * scale[..., :, None] * dictionary.scale[..., None, :]
    solved = inverse @ columns
    pairs, solved_pairs = (x.mT.reshape(batch, -1, 2, r) for x in (columns, solved))
    left = blocks_of(dictionary.gram) - pairs @ solved_pairs.mT
    target = dictionary.target - (columns.mT @ residues)[..., 0]
    dual = torch.stack([inverse[..., i : i + 2, i : i + 2] for i in range(0, 2 * count, 2)], -3)
    size = dual.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
    roots = (block_roots(dual / size) / size.sqrt()).mT
    missed = roots @ residues[..., : 2 * count, :].reshape(batch, count, 2, 1)
    parts = roots @ solved[..., : 2 * count, :].reshape(batch, count, 2, -1)
    parts = parts.reshape(batch, count, 2, -1, 2).movedim(-3, -2).mT
    toward = target.reshape(batch, 1, -1, 2, 1) + parts @ missed[:, :, None]
    gain = (block_roots(left[:, None] + parts @ parts.mT).mT @ toward).square().sum((-2, -1))
    change: Tensor = gain - missed.square().sum((-2, -1))[..., None]
    return change
