"""Random systems of many inputs and outputs, and their impulse responses by the recurrence, for tests."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from ssm2edge.systems.dense import DenseSystem, to_modal
from ssm2edge.systems.system import System


def random_dense(order: int, inputs: int, outputs: int, seed: int = 0, radius: float = 0.9, quadratic: int = 0) -> DenseSystem:
    """Matrices with a spectral radius, and the given number of squares mixed into the outputs."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    A = normal(order, order)
    A = A * radius / torch.linalg.eigvals(A).abs().max()
    M = None
    if quadratic:
        V, W = normal(quadratic, order), normal(outputs, quadratic)
        M = torch.einsum("pq,qi,qj->pij", W, V, V)
    return DenseSystem(A, normal(order, inputs), normal(outputs, order), normal(outputs, inputs), M)


def random_mimo(order: int, inputs: int, outputs: int, seed: int = 0, radius: float = 0.9, quadratic: int = 0) -> System:
    """The same in modal form."""
    return to_modal(random_dense(order, inputs, outputs, seed, radius, quadratic))


def taps_of(dense: DenseSystem, count: int) -> NDArray[np.float64]:
    """``D, C B, C A B, ...``, ``[count, outputs, inputs]``, by the recurrence."""
    A, B, C, D = (x.numpy() for x in (dense.A, dense.B, dense.C, dense.D))
    taps, x = [D], B
    while len(taps) < count:
        taps.append(C @ x)
        x = A @ x
    return np.stack(taps)
