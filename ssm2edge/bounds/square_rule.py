"""The rule for quadratic outputs: the error that a reduction adds, and the error behind the squares.

With z = H u and zhat = Hhat uhat, the squared signals of the two networks, of magnitudes at most P and Phat at every step,

    W z^2 - What zhat^2 = W (z - zhat) (z + zhat) + (W - What) zhat^2        z - zhat = (H - Hhat) u + Hhat (u - uhat)

(products entry by entry), so that with any positive weights s of the squares, in the root mean square over time,

    ||W (z - zhat) (z + zhat)|| <= ||W / s|| ||s (P + Phat) (z - zhat)||
    ||(W - What) zhat^2|| <= || |W - What| (Phat min(Phat, ||zhat||)) ||

The states, and with them P and Phat, are bounded only for inputs that are bounded at every step: the layer is Lipschitz on such
inputs and on no others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from ssm2edge.bounds.constants import Kind
from ssm2edge.bounds.entering import Inputs, reached, smallest_of
from ssm2edge.bounds.layer_gains import SquaresPair
from ssm2edge.bounds.matrix_gains import MatrixGains
from ssm2edge.bounds.signals import Size, size_of_peak
from ssm2edge.bounds.walk import Walk
from ssm2edge.systems.division import relative
from ssm2edge.traced.network import filtered


@dataclass(frozen=True, eq=False)
class Squared:
    """Gains and sizes of a layer's quadratic outputs.

    Attributes
    ----------
    injected
        Error by the layer's own reduction.
    gain
        From ``S n`` to the change of the reduced layer's quadratic outputs.
    peaks
        Largest magnitude of each quadratic output, ``(outputs,)``, of the original and of the reduced layer.
    """

    injected: float
    gain: Callable[[Tensor], float]
    peaks: tuple[Tensor, Tensor]


def square(node: fx.Node, pair: SquaresPair, size: Size, entering: list[Inputs], walk: Walk) -> Squared:
    """Bound the quadratic outputs of a layer and their error; the sizes of its inputs are bounded or observed."""
    one, other, factors = pair.original, pair.reduced, pair.factors
    gains = (factors.original, factors.reduced)
    kind: Kind = "proven"
    sizes, peaks = [size], [reached(each, size) for each in gains]
    if walk.observed is not None:
        kind, seen = "estimated", walk.observed.sequences[node.name]
        sizes.append(size_of_peak(torch.stack([x.abs().amax((0, 1)) for x in seen]).amax(0)))
        peaks = [torch.minimum(peak, _largest(each, seen)) for peak, each in zip(peaks, gains, strict=True)]
    walk.note(node, "largest squared signal", float(torch.cat(peaks).max()), kind)
    left = [
        squares.remainder * min(float(reached(states, known).square().sum()) for known in sizes)
        for squares, states in zip((one, other), pair.states, strict=True)
    ]
    weights = one.mixing.norm(dim=0)
    spread = float(torch.linalg.matrix_norm(relative(one.mixing, weights), 2))
    scaled = factors.weighted(weights * (peaks[0] + peaks[1]))
    ways = [torch.stack([factors.reduced.row_energies(shape) * level for shape, level in way]).sum(0) for way in entering]
    squares = peaks[1] * torch.minimum(peaks[1], torch.stack(ways).amin(0))
    mismatch = float(((one.mixing - other.mixing).abs() @ squares).norm())
    return Squared(
        injected=spread * smallest_of(scaled.injected, entering) + mismatch + sum(left),
        gain=lambda inputs: spread * scaled.reduced.energy(inputs),
        peaks=(one.mixing.abs() @ peaks[0].square() + left[0], other.mixing.abs() @ peaks[1].square() + left[1]),
    )


def _largest(gains: MatrixGains, seen: tuple[Tensor, ...]) -> Tensor:
    """Return the largest magnitude of each output on sequences of inputs."""
    return torch.stack([filtered(gains.system, x).abs().amax((0, 1)) for x in seen]).amax(0)
