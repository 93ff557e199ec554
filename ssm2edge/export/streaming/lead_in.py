"""Samples of a value that are known before the model's first sample, such as zeros of padding and what layers make of them."""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import Tensor, fx

from ssm2edge.export.streaming.timeline import Timeline
from ssm2edge.export.streaming.trial import Trial


def lead_in_samples(
    trial: Trial, node: fx.Node, line: Timeline, start: int, stop: int, frame: int, rows: int = 1
) -> Tensor | None:
    """Return samples ``start`` to ``stop`` of a node's value, ``(rows, ...)``, zeros for negative numbers; None if they vary.

    The model is run on two different inputs: what is known beforehand is the same in both.
    """
    wanted = Fraction(stop - min(line.offset, 0) + 1) / line.rate
    found = []
    for values in trial.values(int(wanted), frame):
        known = values[node].narrow(line.axis, max(0, start), stop - max(0, start))
        missing = torch.zeros_like(known.narrow(line.axis, 0, 1)).repeat_interleave(max(0, -start), line.axis)
        found.append(torch.cat((missing, known), line.axis))
    first = found[0][:rows]
    same = all(torch.equal(x, first.repeat(len(x) // rows, *(1 for _ in x.shape[1:]))) for x in found)
    return first if same else None
