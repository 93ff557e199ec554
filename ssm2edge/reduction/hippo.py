"""HiPPO re-initialisation: forget the system and start afresh at the smaller order (a baseline, to be trained).

Poles are those of S4D-Lin (Gu et al. 2022), ``exp(dt (-1/2 + i pi k))``, which approximate the HiPPO-LegS state matrix, at each
system's own time scale ``dt = -2 median log |lambda|``; input and output maps are random, of the variance of that initialisation,
and quadratic outputs are a tenth of that.
"""

from __future__ import annotations

import math

import torch

from ssm2edge.reduction.contract import Reduction, summarise
from ssm2edge.systems.system import System

SEED = 0


def hippo(system: System, order: int, horizon: int | None) -> Reduction:
    """Replace each system by a fresh S4D-Lin initialisation of the order; deterministic."""
    generator = torch.Generator().manual_seed(SEED)
    batch, m, p = system.poles.shape[0], system.inputs, system.outputs
    dt = (-2 * torch.log(system.poles.abs().clamp_min(1e-30)).median(-1).values).clamp(1e-6, 50.0)
    # An odd order has the mode of frequency zero once; an even one would have it twice, and starts at the next frequency.
    frequencies = math.pi * torch.arange(1, order // 2 + 1, dtype=torch.float64)
    # Beyond the Nyquist frequency modes would alias onto negative angles; they are folded back.
    angle = torch.remainder(dt[:, None] * frequencies, 2 * math.pi)
    angle = torch.where(angle > math.pi, 2 * math.pi - angle, angle).clamp(1e-6, math.pi - 1e-6)
    upper = torch.polar(torch.exp(-dt / 2)[:, None].expand_as(angle).contiguous(), angle)
    poles = torch.stack((upper, upper.conj()), dim=-1).flatten(-2)
    if order % 2:
        poles = torch.cat((poles, torch.exp(-dt / 2)[:, None].to(poles)), dim=-1)

    def random(rows: int, columns: int) -> torch.Tensor:
        draw = torch.randn(rows, columns, dtype=torch.complex128, generator=generator)
        even = order - order % 2
        draw[1:even:2] = draw[0:even:2].conj()
        draw[even:] = draw[even:].real.to(draw)
        return draw

    B = torch.ones(order, 1, dtype=torch.complex128) if m == 1 else random(order, m) / math.sqrt(m)
    # Zero-order hold of the continuous mode, as the initialisation has it.
    hold = (1 - poles) / (-torch.log(poles) / dt[:, None])
    C = random(order, p).mT / math.sqrt(order / 2) if p > 1 else random(order, 1).mT
    M = None if system.M is None else _squares(random(order, order), p, generator).expand(batch, p, order, order).clone()
    reduced = System(poles, B.expand(batch, order, m).clone(), C * hold[:, None, :], system.D, M)
    return summarise(system, reduced, "hippo", horizon)


def _squares(directions: torch.Tensor, outputs: int, generator: torch.Generator) -> torch.Tensor:
    """Return quadratic outputs ``(outputs, n, n)``: small random weights of the squares along n real directions, columns.

    Zero would be a stationary point of a product of directions and weights: training could not leave it.
    """
    order = len(directions)
    weights = 0.1 * torch.randn(outputs, 1, order, dtype=torch.float64, generator=generator)
    forms: torch.Tensor = (directions * weights) @ directions.mT / order**1.5
    return forms
