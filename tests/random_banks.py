"""Random SISO banks in canonical order, and their impulse responses by the definition, for tests."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from ssm2edge.systems.system import System, siso_bank


def random_bank(channels: int, order: int, seed: int = 0, largest: float = 0.97, pairs: int | None = None) -> System:
    """Bank whose channels hold different numbers of conjugate pairs (or ``pairs`` each), the rest real poles of both signs."""
    generator = np.random.default_rng(seed)
    poles = np.zeros((channels, order), complex)
    residues = np.zeros((channels, order), complex)
    for channel in range(channels):
        count = generator.integers(0, order // 2 + 1) if pairs is None else pairs
        upper = generator.uniform(0.1, largest, count) * np.exp(1j * generator.uniform(0.05, 3.1, count))
        weights = generator.standard_normal(count) + 1j * generator.standard_normal(count)
        rest = order - 2 * count
        real = generator.uniform(-largest, largest, rest)
        poles[channel] = np.concatenate([np.stack([upper, upper.conj()], -1).ravel(), real])
        residues[channel] = np.concatenate([np.stack([weights, weights.conj()], -1).ravel(), generator.standard_normal(rest)])
    feedthrough = generator.standard_normal(channels)
    return siso_bank(torch.from_numpy(poles), torch.from_numpy(residues), torch.from_numpy(feedthrough))


def response_of(system: System, length: int) -> NDArray[np.float64]:
    """Impulse responses ``[channels, length]``: D, then the sums of residues times powers of poles."""
    poles, residues = system.poles.numpy(), system.residues.numpy()
    taps = [system.D[:, 0, 0].numpy()]
    taps += [(residues * poles**k).sum(-1).real for k in range(length - 1)]
    return np.stack(taps, axis=-1)


def filtered_by(response: NDArray[np.float64], u: NDArray[np.float32]) -> NDArray[np.float64]:
    """Causal convolution of ``[batch, channels, time]`` with ``[channels, time]``, in float64."""
    time = u.shape[-1]
    rows = [[np.convolve(x.astype(np.float64), h)[:time] for x, h in zip(sample, response, strict=True)] for sample in u]
    return np.array(rows)
