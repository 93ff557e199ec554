"""The pack of responses: answers of the original and the reduced layers to impulses and sines."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssm2edge.artifact import LARGEST_SIGNAL, LayerResponses, Responses, SystemResponse
from ssm2edge.systems.response import impulse_response, simulate
from ssm2edge.systems.system import System

Array = NDArray[Any]

LONGEST = 1 << 12
"""Samples of a run, at most."""
SIMULATED = 1 << 9
"""Samples of the quadratic part of a response."""
DIRECTIONS = 4
"""Impulses into a system of many inputs, each into all inputs with other signs; fewer inputs are driven one by one."""
NUMBERS = 200_000
"""Numbers of all layers together, of the original and the reduced ones: what keeps the pack small."""
FEWEST, MOST = 12, 64
"""Times of an impulse response, closer together at its start; there are half as many frequencies, with two numbers each."""
AT_ONCE = 1 << 22
"""Powers of poles that are held at once."""


def respond(before: Mapping[str, System], after: Mapping[str, System], names: Collection[str], horizon: int | None) -> Responses:
    """Responses of layers before and after reduction.

    Parameters
    ----------
    before, after
        Original systems, and those of the blocks that run, by layer.
    names
        The layers to record.
    horizon
        Taps on which errors count, after the feedthrough.
    """
    chosen = {name: system for name, system in before.items() if name in names}
    widest = max((max(system.inputs, _outputs(system)) for system in chosen.values()), default=1)
    length = min(LONGEST, LARGEST_SIGNAL // widest, LONGEST if horizon is None else horizon + 1)
    driven = {name: _directions(system) for name, system in chosen.items()}
    rows = sum(len(driven[name]) * _outputs(system) for name, system in chosen.items())
    count = min(MOST, max(FEWEST, NUMBERS // max(1, 4 * rows)))
    times = np.arange(length) if length <= count else np.unique(np.geomspace(1, length, count).round().astype(np.int64)) - 1
    rising = np.geomspace(min(0.5, 1 / length), 0.5, count // 2 - 1)
    frequencies = np.unique(np.concatenate(([0.0], rising)))
    layers = {
        name: LayerResponses(
            driven[name].astype(np.float32),
            *(_response(system[name], driven[name], times, frequencies) for system in (before, after)),
        )
        for name in chosen
    }
    return Responses(times, frequencies, layers)


def _directions(system: System) -> Array:
    """Return the directions of the impulses; the channels of a bank are driven at once, for none hears another."""
    if system.batch_shape:
        return np.ones((1, system.batch_shape.numel()))
    if system.inputs <= DIRECTIONS:
        return np.eye(system.inputs)
    # Over random signs, the mean energy of these responses is that of all inputs one by one (Hutchinson, 1989).
    return np.random.default_rng(0).choice([-1.0, 1.0], (DIRECTIONS, system.inputs))


def _outputs(system: System) -> int:
    return system.batch_shape.numel() if system.batch_shape else system.outputs


def _response(system: System, directions: Array, times: Array, frequencies: Array) -> SystemResponse:
    length = int(times[-1]) + 1
    waves = np.exp(-2j * math.pi * np.arange(length)[:, None] * frequencies)
    if system.batch_shape:
        width = max(1, AT_ONCE // (length * system.order))
        parts = [system[i : i + width] for i in range(0, system.batch_shape.numel(), width)]
        pieces = [impulse_response(part, length)[:, 0, 0].numpy() for part in parts]
        responses = np.concatenate([piece[:, times] for piece in pieces])[None]
        spectra = np.concatenate([piece @ waves for piece in pieces])[None]
        return SystemResponse(_stored(responses), _stored(_parts(spectra)))
    # Few directions, run sample by sample: the responses of all pairs of inputs and outputs would fill the memory.
    whole = simulate(replace(system, M=None), _impulses(directions, length))[0].numpy()
    quadratic = None if system.M is None else _stored(_quadratic(system, directions, times[times < SIMULATED]))
    return SystemResponse(_stored(whole[..., times]), _stored(_parts(whole @ waves)), quadratic)


def _impulses(directions: Array, length: int) -> Tensor:
    """An impulse in each direction, ``(directions, inputs, length)``."""
    impulses = torch.zeros(*directions.shape, length, dtype=torch.float64)
    impulses[..., 0] = torch.from_numpy(directions)
    return impulses


def _quadratic(system: System, directions: Array, times: Array) -> Array:
    """Return the part of the answers that is even in the sign of the impulse, ``(directions, outputs, times)``."""
    impulses = _impulses(directions, int(times[-1]) + 1)
    even: Array = ((simulate(system, impulses)[0] + simulate(system, -impulses)[0]) / 2).numpy()
    return even[..., times]


def _parts(values: Array) -> Array:
    return np.stack((values.real, values.imag), axis=-1)


def _stored(values: Array) -> Array:
    return np.ascontiguousarray(values, dtype=np.float32)
