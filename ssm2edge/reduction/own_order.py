"""Systems that keep all their states; they are returned as they are, unless a device in float32 could not run them.

The modes of a state matrix that is far from normal, as HiPPO's are, cancel: their residues are many times larger than the
response, and a device that rounds them computes noise.  Such channels get other poles of the same number (``growing.py``).  That
costs a small h2 error, reported like any other.
"""

from __future__ import annotations

import torch

from ssm2edge.reduction.balanced import put
from ssm2edge.reduction.contract import Outcome, Reduction, summarise
from ssm2edge.reduction.device import cancels, grown_channels
from ssm2edge.systems.dense import with_real_coefficients
from ssm2edge.systems.system import System


def own_order(system: System, method: str, horizon: int | None) -> Reduction:
    """Return systems of their own order that float32 can hold."""
    as_it_is = summarise(system, system, method, horizon, Outcome.IDENTITY)
    lost = cancels(system)
    if len(system.batch_shape) != 1 or not lost.any():
        return as_it_is
    calm, end = grown_channels(with_real_coefficients(system[lost]), system.order, horizon)
    iterations = torch.zeros(system.batch_shape, dtype=torch.int64)
    iterations[lost] = end.iterations
    outcomes = torch.where(lost, int(Outcome.REPAIRED), int(Outcome.IDENTITY))
    return summarise(system, put(system, lost, calm), method, horizon, outcomes, iterations)
