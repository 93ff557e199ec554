"""Bits of each weight by what its rounding costs the outputs: few, unless that is more than the reduction of the layers costs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from ssm2edge.calibration.distances import Metric, distance_of
from ssm2edge.calibration.signals import Signals
from ssm2edge.calibration.teacher import Teacher, as_tuple
from ssm2edge.quantisation import Inputs, Weight, levels_of, round_weight

LEAST = 0.02
"""Relative deviation of the outputs that rounding may always cost before matching; otherwise as much as the reduction does."""

SAMPLES = 32
"""Samples on which deviations are measured, at most."""

LEVELS = (4, 8)


def bits_by_outputs(
    network: nn.Module,
    teacher: Teacher,
    weights: Mapping[str, Weight],
    inputs: Mapping[str, Inputs],
    signals: Signals,
    metric: Metric,
) -> tuple[dict[str, int], dict[str, str]]:
    """Choose the bits of each weight, so that the squares of all deviations together stay below the limit.

    Parameters
    ----------
    network
        With reduced blocks; it is left as it is.
    teacher
        The original.
    weights, inputs
        Of the network.
    signals
        Samples.
    metric
        What the outputs are judged by.

    Returns
    -------
    dict
        Bits by weight; those that stay float32 have none.
    dict
        The reason, by weight.
    """
    distance, batch = distance_of(metric), tuple(x[:SAMPLES] for x in signals.inputs)

    def answers() -> tuple[Tensor, ...]:
        with torch.no_grad():
            return as_tuple(network(*batch))

    plain, original = answers(), teacher.answer(*batch)
    size = max(float(distance(original, tuple(torch.zeros_like(y) for y in original))), 1e-30)
    limit = max(LEAST**2, float(distance(plain, original)) / size)
    costs = rounding_costs(weights, inputs, dict.fromkeys(weights, LEVELS), lambda: float(distance(answers(), plain)) / size)
    # Few numbers take more bytes as integers, with the nodes that write them out.
    worth = {name: {bits: costs[name][bits] for bits in levels_of(weight, LEVELS)} for name, weight in weights.items()}
    found = shared_out(worth, {name: weight.parameter.numel() for name, weight in weights.items()}, limit)
    return found, {name: _reason(costs[name], tuple(worth[name]), found.get(name), math.sqrt(limit)) for name in weights}


def rounding_costs(
    weights: Mapping[str, Weight],
    inputs: Mapping[str, Inputs],
    levels: Mapping[str, Sequence[int]],
    measured: Callable[[], float],
) -> dict[str, dict[int, float]]:
    """Return what is measured while one weight is rounded, by weight and bits; the weights are left as they are."""
    costs: dict[str, dict[int, float]] = {}
    for name, weight in weights.items():
        kept = [(x, x.detach().clone()) for x in (weight.parameter, weight.bias) if x is not None]
        costs[name] = {}
        for bits in levels[name]:
            round_weight(weight, bits, inputs.get(name))
            costs[name][bits] = measured()
            with torch.no_grad():
                for parameter, value in kept:
                    parameter.copy_(value)
    return costs


def shared_out(costs: Mapping[str, Mapping[int, float]], sizes: Mapping[str, int], limit: float) -> dict[str, int]:
    """Raise the bits of weights, those first of which a bit gains most, until all costs together meet the limit.

    Weights without costs have no level in which they take fewer bytes, and stay float32.
    """
    bits: dict[str, int | None] = {name: min(of, default=None) for name, of in costs.items()}

    def cost(name: str, count: int | None) -> float:
        return 0.0 if count is None else costs[name][count]

    def gain(name: str, count: int | None) -> float:
        now = bits[name]
        assert now is not None
        return (cost(name, now) - cost(name, count)) / (((count or 32) - now) * sizes[name])

    while sum(cost(name, count) for name, count in bits.items()) > limit:
        # A level may gain nothing where the one behind it does.
        raises = [
            (name, count)
            for name, now in bits.items()
            if now is not None
            for count in (*costs[name], None)
            if (count or 32) > now
        ]
        best, count = max(raises, key=lambda pair: gain(*pair))
        bits[best] = count
    return {name: count for name, count in bits.items() if count is not None}


def _reason(costs: Mapping[int, float], worth: Sequence[int], bits: int | None, limit: float) -> str:
    def of(count: int) -> str:
        return f"{count} bits deviate the outputs by {100 * math.sqrt(costs[count]):.2g} %"

    shown = ", ".join(map(of, LEVELS if bits != LEVELS[0] else LEVELS[:1]))
    allowed = f"all weights together may by {100 * limit:.2g} %"
    larger = [str(count) for count in LEVELS if count not in worth]
    if not larger:
        return f"{shown}; {allowed}"
    return (
        f"{shown}; {allowed}; {' and '.join(larger)} bits with the nodes that write them out take no fewer bytes than more bits"
    )
