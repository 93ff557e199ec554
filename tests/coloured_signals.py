"""Inputs that are far from white, the networks that tests calibrate on them, and the least-squares oracle of weighted errors."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import lfilter
from torch import Tensor, nn

from models.digits.model import make as make_digits
from models.sysid.model import make as make_sysid
from ssm2edge.calibration import Signals
from ssm2edge.layers import find_layers
from ssm2edge.reduction import reduce_system
from ssm2edge.systems.system import System

LENGTH = 48


def coloured(*shape: int, seed: int = 0, pole: float = 0.95) -> NDArray[np.float32]:
    """First-order autoregressive noise along the last axis."""
    white = np.random.default_rng(seed).standard_normal(shape)
    return np.asarray(lfilter([np.sqrt(1 - pole**2)], [1.0, -pole], white, axis=-1), np.float32)


def sequences(count: int = 20, seed: int = 0, at_once: int = 100, length: int = LENGTH) -> Signals:
    """Samples ``(count, time, 1)`` of coloured noise."""
    return Signals([torch.from_numpy(coloured(count, length, seed=seed)[..., None])], at_once, length)


def classifier(dropout: float = 0.0) -> nn.Module:
    """Two S4D layers of 4 channels and 8 states; the same weights every time."""
    torch.manual_seed(1)
    return make_digits(channels=4, states=8, layers=2, dropout=dropout).eval()


def follower(rank: int) -> nn.Module:
    """Two LRUs of width 4 and 8 states, with ``rank`` squares; one output per sample."""
    torch.manual_seed(2)
    model = make_sysid(width=4, states=8, rank=rank, layers=2).eval()
    with torch.no_grad():
        for block in model.layers:
            block.lru.W.mul_(3.0)
    return model


def systems_of(model: nn.Module) -> dict[str, System]:
    """The layers' systems by name."""
    return {layer.name: layer.system for layer in find_layers(model)}


def reduced_to(systems: Mapping[str, System], order: int, length: int | None = LENGTH) -> dict[str, System]:
    """Balanced truncations of all systems."""
    return {name: reduce_system(system, order, "balanced", length).system for name, system in systems.items()}


def answers(model: nn.Module, inputs: Tensor) -> NDArray[np.float64]:
    """The first output of a model, in float64."""
    with torch.no_grad():
        y = model(inputs)
    return (y[0] if isinstance(y, tuple) else y).double().numpy()


def spectrum_of(signal: NDArray[np.floating]) -> NDArray[np.complex128]:
    """Transform along the last axis, padded to twice the length, at the frequencies 0 .. pi."""
    length = signal.shape[-1]
    return np.fft.fft(np.asarray(signal, complex), n=2 * length, axis=-1)[..., : length + 1]


def exponentials(poles: NDArray[np.complex128], taps: int) -> NDArray[np.complex128]:
    """Responses ``0, 1, pole, .., pole^(taps - 1)`` of the poles, ``[poles, taps + 1]``."""
    columns = [np.zeros_like(poles)] + [poles**k for k in range(taps)]
    return np.stack(columns, axis=-1)


def least_weighted_error(
    response: NDArray[np.complex128], weight: NDArray[np.float64], poles: NDArray[np.complex128], taps: int
) -> float:
    """Smallest ``sum_w weight |response - fit|^2`` of one channel over real systems of given poles, by ``numpy.linalg.lstsq``."""
    spectra = spectrum_of(exponentials(poles, taps))
    columns = [np.ones_like(response)]
    for pole, spectrum in zip(poles, spectra, strict=True):
        if pole.imag > 0:
            partner = spectrum_of(exponentials(poles.conj()[poles == pole], taps))[0]
            columns += [spectrum + partner, 1j * (spectrum - partner)]
        elif pole.imag == 0:
            columns += [spectrum]
    root = np.sqrt(weight)
    rows, goal = np.array(columns) * root, response * root
    matrix = np.concatenate([rows.real, rows.imag], axis=1).T
    right = np.concatenate([goal.real, goal.imag])
    solution = np.linalg.lstsq(matrix, right, rcond=1e-13)[0]
    return float(np.square(right - matrix @ solution).sum())
