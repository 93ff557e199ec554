"""Distances of the outputs of a network from those of the original, by the metric that they are judged by."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

Metric = str | None | tuple[str | None, ...]
"""Metric of a model, or of each of its outputs."""

Distance = Callable[[tuple[Tensor, ...], tuple[Tensor, ...]], Tensor]
"""Mean over a batch, from the outputs of the reduced network and of the original."""


def squared_distance(difference: Tensor) -> Tensor:
    """Return the mean square of the difference of an output, over all time steps."""
    return difference.square().mean()


def logit_distance(difference: Tensor) -> Tensor:
    """Return the mean square of the difference of logits, without their common part: a softmax does not see it."""
    return (difference - difference.mean(-1, keepdim=True)).square().mean()


DISTANCES: Mapping[str | None, Callable[[Tensor], Tensor]] = {
    None: squared_distance, "nrmse": squared_distance, "accuracy": logit_distance,
}  # fmt: skip
"""By the metric of an output."""


def distance_of(metric: Metric) -> Distance:
    """Return the sum over the outputs of their distances; one metric holds for all of them."""

    def distance(answers: tuple[Tensor, ...], wanted: tuple[Tensor, ...]) -> Tensor:
        metrics = metric if isinstance(metric, tuple) else (metric,) * len(answers)
        parts = zip(metrics, answers, wanted, strict=True)
        return torch.stack([DISTANCES[of]((y - t).float()) for of, y, t in parts]).sum()

    return distance
