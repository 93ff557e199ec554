"""The layers in numbers that can be drawn: errors, Hankel singular values, poles and responses, before and after."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssm2edge.artifact import Figures, LayerFigures, Pole, Profile, Reference, Response
from ssm2edge.systems.division import relative
from ssm2edge.systems.norms import h2_error, h2_norm, hankel_singular_values
from ssm2edge.systems.response import frequency_response, impulse_response
from ssm2edge.systems.system import System

Array = NDArray[Any]

SYSTEMS = 256
"""Systems of a layer that are looked at; an even selection where there are more."""
CELLS = 300
"""Points of one picture of poles: near ones are drawn as one."""
TIMES, FREQUENCIES = 160, 120
LONGEST = 1 << 14
"""Samples of an impulse response, at most."""
DIGITS = 5


def portray(
    before: Mapping[str, System],
    after: Mapping[str, System],
    horizon: int | None,
    reference: Reference,
    profiles: tuple[Profile, ...],
) -> Figures:
    """Draw up the figures of a build.

    Parameters
    ----------
    before, after
        Original systems, and those of the blocks that run, by layer.
    horizon
        Taps on which errors count.
    reference
        Outputs of the original and of the reduced model on the held-out samples.
    profiles
        Where the time goes.
    """
    wanted = [value.astype(np.float64) for value in reference.original.values()]
    errors = [reference.reduced[name].astype(np.float64) - value for name, value in reference.original.items()]
    return Figures(
        layers=tuple(layer_figures(name, system, after[name], horizon) for name, system in before.items()),
        output_error=_rounded(_root_mean_square(errors)),
        output_size=_rounded(_root_mean_square(wanted)),
        profiles=profiles,
    )


def layer_figures(name: str, before: System, after: System, horizon: int | None) -> LayerFigures:
    """Figures of one layer."""
    inputs, outputs, quadratic = before.inputs, before.outputs, before.M is not None
    if not before.batch_shape:
        before, after = before[None], after[None]
    count = before.batch_shape.numel()
    chosen = torch.linspace(0, count - 1, min(count, SYSTEMS)).round().to(torch.int64)
    before, after = before[chosen], after[chosen]
    errors = relative(h2_error(before, after, horizon), h2_norm(before, horizon)).numpy()
    length = min(LONGEST, LONGEST if horizon is None else max(2, horizon))
    pairs = _channels(errors, chosen) if before.is_siso and count > 1 else _pairs(before, after)
    return LayerFigures(
        name=name,
        inputs=inputs,
        outputs=outputs,
        quadratic=quadratic,
        errors=_list(np.sort(errors)),
        hankel_before=_hankel(before, horizon),
        hankel_after=_hankel(after, horizon),
        poles_before=_poles(before.poles),
        poles_after=_poles(after.poles),
        responses=tuple(
            _response(title, error, _pair(before, place), _pair(after, place), length) for title, error, place in pairs
        ),
    )


def _channels(errors: Array, chosen: Tensor) -> list[tuple[str, float, tuple[int, int, int]]]:
    order = np.argsort(errors, kind="stable")
    named = {"largest error": order[-1], "median error": order[len(order) // 2], "smallest error": order[0]}
    return [(f"channel {int(chosen[i])}, {why}", float(errors[i]), (int(i), 0, 0)) for why, i in named.items()]


def _pairs(before: System, after: System) -> list[tuple[str, float, tuple[int, int, int]]]:
    """Input-output pairs of one system, ranked by their error over the frequencies, relative to the strongest pair's size."""
    frequencies = torch.from_numpy(2 * math.pi * np.geomspace(1e-3, 0.5, 33))
    error = torch.zeros(before.outputs, before.inputs, dtype=torch.float64)
    size = torch.zeros_like(error)
    for frequency in frequencies:
        responses = [frequency_response(system, frequency[None])[0, :, :, 0] for system in (before, after)]
        error += (responses[0] - responses[1]).abs().square()
        size += responses[0].abs().square()
    errors = relative(error, size.max()).sqrt().flatten()
    order = torch.argsort(errors, stable=True)
    named = {"largest error": order[-1], "median error": order[len(order) // 2], "smallest error": order[0]}
    found = []
    for why, index in list(named.items())[: len(order)]:
        output, entry = divmod(int(index), before.inputs)
        found.append((f"input {entry} to output {output}, {why}", float(errors[index]), (0, output, entry)))
    return found


def _pair(system: System, place: tuple[int, int, int]) -> System:
    (index, output, entry), system = place, system.paper_form()
    return System(
        system.poles[index],
        system.B[index, :, entry : entry + 1],
        system.C[index, output : output + 1],
        system.D[index, output : output + 1, entry : entry + 1],
    )


def _response(title: str, error: float, before: System, after: System, length: int) -> Response:
    times = np.unique(np.geomspace(1, length, TIMES).round().astype(int))
    frequencies = np.geomspace(min(1e-3, 0.5 / length), 0.5, FREQUENCIES)
    impulses = [impulse_response(system, length + 1)[0, 0].numpy()[times] for system in (before, after)]
    radians = torch.from_numpy(2 * math.pi * frequencies)
    gains = [frequency_response(system, radians)[0, 0].numpy() for system in (before, after)]
    return Response(
        title=title,
        error=_rounded(error),
        times=tuple(int(time) for time in times),
        impulse_before=_list(impulses[0]),
        impulse_after=_list(impulses[1]),
        frequencies=_list(frequencies),
        gain_before=_list(np.abs(gains[0])),
        gain_after=_list(np.abs(gains[1])),
        gain_error=_list(np.abs(gains[0] - gains[1])),
    )


def _hankel(system: System, horizon: int | None) -> tuple[tuple[float, ...], ...]:
    values = hankel_singular_values(system, horizon)
    shares = relative(values, values[..., :1]).numpy()
    return tuple(_list(row) for row in (shares.min(0), np.median(shares, 0), shares.max(0)))


def _poles(poles: Tensor) -> tuple[Pole, ...]:
    """Poles of the upper half plane, near ones joined: near in the logarithms of memory and of frequency."""
    every = poles.flatten().numpy()
    every = every[every.imag >= 0]
    memory = np.log10(1 - np.minimum(np.abs(every), 1 - 1e-9))
    angle = np.log10(np.abs(np.angle(every)).clip(1e-5))
    step = 0.02
    while True:
        keys = np.stack((np.floor(memory / step), np.floor(angle / step)), axis=-1)
        cells, owner, counts = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
        if len(cells) <= CELLS:
            break
        step *= 1.3
    owner = owner.reshape(-1)
    means = np.bincount(owner, every.real) / counts + 1j * np.bincount(owner, every.imag) / counts
    return tuple(Pole(_rounded(mean.real, 7), _rounded(mean.imag, 7), int(n)) for mean, n in zip(means, counts, strict=True))


def _root_mean_square(parts: list[Array]) -> float:
    """Of the Euclidean norm over the last axis of all outputs together, over everything else."""
    squares = [np.square(part.astype(np.float64)).sum(-1).mean() if part.ndim > 1 else np.square(part).mean() for part in parts]
    return float(math.sqrt(sum(squares)))


def _list(values: Array) -> tuple[float, ...]:
    return tuple(_rounded(float(value)) for value in values)


def _rounded(value: float, digits: int = DIGITS) -> float:
    return float(f"{value:.{digits}g}")
