"""Constants of a network that no proof bounds usefully, observed on samples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from ssm2edge.bounds.channels import channel_axis
from ssm2edge.systems.system import System
from ssm2edge.traced.network import BANK, MIMO, Network, operator


@dataclass(frozen=True, eq=False)
class Observed:
    """Extremes over samples and over the networks run on them, by node.

    Attributes
    ----------
    deviations
        Smallest ``sqrt(variance + eps)`` before each normalisation.
    peaks
        Largest magnitude of the gated half of each gate.
    factors
        Of products of two values: the largest magnitudes of each channel, ``(channels,)`` float64, of the one and of the other.
    inputs
        ``(channels,)`` float64: largest root mean square over time of each channel that enters a bank.
    directions
        For blocks of many inputs and outputs: orthonormal directions of their inputs ``(inputs, inputs)`` float64, and the
        largest root mean square over time along each, ``(inputs,)``.
    sequences
        For blocks with quadratic outputs: all their inputs, ``(samples, time, inputs)`` float64 each.
    outputs
        Root mean square over samples (and time, where outputs have it) of the outputs' Euclidean norm, in the first network.
    """

    deviations: Mapping[str, float]
    peaks: Mapping[str, float]
    factors: Mapping[str, tuple[Tensor, Tensor]]
    inputs: Mapping[str, Tensor]
    directions: Mapping[str, tuple[Tensor, Tensor]]
    sequences: Mapping[str, tuple[Tensor, ...]]
    outputs: float


def observe(network: Network, systems: Sequence[Mapping[str, System]], batches: Sequence[list[Tensor]]) -> Observed:
    """Run a network on samples, once with each set of systems; the first is the original.

    Parameters
    ----------
    network
        The traced network.
    systems
        Sets of systems, by layer.
    batches
        Batches of the model's inputs.
    """
    deviations: dict[str, float] = {}
    peaks: dict[str, float] = {}
    factors: dict[str, tuple[Tensor, Tensor]] = {}
    inputs: dict[str, Tensor] = {}
    directions: dict[str, tuple[Tensor, Tensor]] = {}
    sequences: dict[str, tuple[Tensor, ...]] = {}
    quadratic = {name for members in systems for name, system in members.items() if system.M is not None}

    def watch(node: fx.Node, args: tuple[Any, ...], value: Any) -> Any:
        kind = operator(node)
        if kind == "layer_norm":
            variance = args[0].double().var(-1, correction=0).min()
            eps = args[4] if len(args) > 4 else 1e-5
            deviations[node.name] = min(deviations.get(node.name, math.inf), math.sqrt(float(variance) + eps))
        elif kind == "glu":
            axis = args[1] if len(args) > 1 else -1
            gated = args[0].chunk(2, axis)[0]
            peaks[node.name] = max(peaks.get(node.name, 0.0), float(gated.abs().max()))
        elif kind == "mul" and all(isinstance(factor, Tensor) and factor.ndim == value.ndim for factor in args):
            rest = [axis for axis in range(value.ndim) if axis != channel_axis(node)]
            one, other = (factor.double().abs().amax(rest) for factor in args)
            known = factors.get(node.name, (one, other))
            factors[node.name] = (torch.maximum(known[0], one), torch.maximum(known[1], other))
        elif kind == BANK:
            seen = args[0].double().square().mean(-1).amax(0).sqrt()
            inputs[node.name] = torch.maximum(inputs.get(node.name, seen), seen)
        elif kind == MIMO:
            samples = args[0].double()
            if network.layers[node] in quadratic:
                sequences[node.name] = (*sequences.get(node.name, ()), samples)
            if node.name in directions:
                axes, levels = directions[node.name]
            else:
                # Any orthonormal directions will do; bounds are sharp if few of them hold most of the samples' energy.
                axes, levels = torch.linalg.eigh(torch.einsum("bti,btj->ij", samples, samples)).eigenvectors, torch.zeros(())
            directions[node.name] = (axes, torch.maximum(levels, (samples @ axes).square().mean(1).amax(0).sqrt()))
        return value

    energy, rows = 0.0, 0
    with torch.no_grad():
        for position, members in enumerate(systems):
            for batch in batches:
                outputs = network.run(members, batch, watch)
                if position == 0:
                    energy += sum(_energy(output) for output in outputs)
                    rows += len(batch[0])
    return Observed(deviations, peaks, factors, inputs, directions, sequences, math.sqrt(energy / rows))


def _energy(output: Tensor) -> float:
    """Return the squared norm of an output, summed over the batch and averaged over time if it has one."""
    steps = output.shape[1:-1].numel()
    return float(output.double().square().sum()) / steps
