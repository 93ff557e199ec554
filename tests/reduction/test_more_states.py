"""More states never do worse, nor does the default method than balanced truncation, in the arithmetic of a float32 recurrence."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ssm2edge.layers import block_of
from ssm2edge.layers.block import ReducedBank
from ssm2edge.reduction import reduce_system
from ssm2edge.reduction.tied import reduce_tied
from ssm2edge.systems.dense import DenseSystem, to_modal
from ssm2edge.systems.real_coordinates import swap_indices
from ssm2edge.systems.system import System, concatenate, from_conjugate_half, siso_bank
from ssm2edge.systems.tie import Tie
from tests.random_banks import random_bank
from tests.slow_cases import slow

Responses = NDArray[np.float64]
TAPS = 256


def legs(order: int, steps: tuple[float, ...]) -> tuple[System, Responses]:
    """HiPPO-LegS by the bilinear rule with random outputs, and its responses by powers of the dense matrix."""
    q = np.arange(order)
    root = np.sqrt(2 * q + 1)
    A = -np.tril(np.outer(root, root), -1) - np.diag(q + 1.0)
    outputs = np.random.default_rng(1).standard_normal((len(steps), order))
    systems, responses = [], []
    for row, dt in zip(outputs, steps, strict=True):
        inverse = np.linalg.inv(np.eye(order) - dt * A / 2)
        dA, state, taps = inverse @ (np.eye(order) + dt * A / 2), inverse @ (dt * root), []
        parts = (dA, state[:, None], row[None], np.zeros((1, 1)))
        systems.append(to_modal(DenseSystem(*(torch.from_numpy(np.ascontiguousarray(x))[None] for x in parts))))
        for _ in range(TAPS):
            taps.append(float(row @ state))
            state = dA @ state
        responses.append(taps)
    return concatenate(systems), np.array(responses)


def by_powers(system: System) -> tuple[System, Responses]:
    poles, residues = system.poles.numpy(), system.residues.numpy()
    return system, np.stack([(residues * poles**k).sum(-1).real for k in range(TAPS)], -1)


def s4d() -> tuple[System, Responses]:
    dt = torch.tensor([0.003, 0.03, 0.1], dtype=torch.float64)[:, None]
    poles = torch.exp(dt * torch.complex(torch.full((8,), -0.5), torch.pi * torch.arange(8.0)).to(torch.complex128))
    C = torch.randn(3, 1, 8, dtype=torch.complex128, generator=torch.Generator().manual_seed(0))
    D = torch.zeros(3, 1, 1, dtype=torch.float64)
    return by_powers(from_conjugate_half(poles, (dt + 0j)[..., None].expand(3, 8, 1), C, D))


def integrators() -> tuple[System, Responses]:
    """Poles as slow as probing finds them, beside quick ones."""
    quick = random_bank(2, 5, seed=2, largest=0.8)
    poles = torch.cat((torch.full((2, 1), 1 - 1e-12, dtype=torch.complex128), quick.poles), -1)
    residues = torch.cat((torch.full((2, 1), 0.01, dtype=torch.complex128), 0.01 * quick.residues), -1)
    return by_powers(siso_bank(poles, residues, quick.D[:, 0, 0]))


BANKS: dict[str, tuple[Callable[[], tuple[System, Responses]], tuple[int, ...]]] = {
    "random": (lambda: by_powers(random_bank(3, 8)), (1, 2, 4, 6, 7, 8)),
    "S4D": (s4d, (2, 5, 8, 12, 15)),
    "integrators": (integrators, (1, 2, 3, 5, 6)),
    "LegS, few states": (lambda: legs(16, (0.01,)), (1, 2, 3, 4)),
    "LegS": (lambda: legs(16, (0.01, 0.05, 0.3)), (1, 2, 3, 6, 9, 10, 13, 14, 15, 16)),
    "LegS of 64 states": (lambda: legs(64, (0.005, 0.1)), (8, 16, 24, 32, 40, 47, 48, 56, 63, 64)),
    "LegS of 128 states": (lambda: legs(128, (0.01,)), (16, 64, 96, 128)),
    "LegS of 256 states": (lambda: legs(256, (0.01,)), (32, 256)),
}


def missed(reduced: System, response: Responses) -> Responses:
    """Root of the energies of the error and of what float32 adds to it, relative to the response, by channel."""
    block = block_of(reduced)
    assert isinstance(block, ReducedBank)
    sections = [x.detach().numpy() for x in (block.sections().a, block.sections().b, block.output)]
    u = np.random.default_rng(0).standard_normal(4 * TAPS)

    def answers(dtype: type[np.floating], inputs: NDArray[np.float64]) -> Responses:
        a, b, c = (x.astype(dtype) for x in sections)
        states, found, swap = np.zeros_like(a), [], swap_indices(a.shape[-1])
        for sample in inputs.astype(dtype):
            found.append((c * states).sum(-1, dtype=np.float64))
            states = a * states + b * states[:, swap] + sample
        return np.stack(found, -1)

    impulse = np.zeros(TAPS + 1)
    impulse[0] = 1.0
    error = np.linalg.norm(answers(np.float64, impulse)[:, 1:] - response, axis=-1)
    noise = np.std(answers(np.float32, u) - answers(np.float64, u), axis=-1)
    return np.hypot(error, noise) / np.linalg.norm(response, axis=-1)


@pytest.mark.parametrize("name", [name if name == "LegS, few states" else slow(name) for name in BANKS])
def test_more_states_never_do_worse_and_balanced_truncation_never_does_better(name: str) -> None:
    make, orders = BANKS[name]
    system, response = make()
    best = np.full(len(response), np.inf)
    for order in orders:
        reached = missed(reduce_system(system, order, "gradient", TAPS).system, response)
        # Coefficients rounded to float32 move errors of 1e-5.
        assert (reached <= 1.01 * best + 1e-5).all(), (order, reached, best)
        best = np.minimum(best, reached)
        if order < system.order:
            balanced = missed(reduce_system(system, order, "balanced", TAPS).system, response)
            assert (reached <= 1.01 * balanced + 1e-5).all(), (order, reached, balanced)


@pytest.mark.slow
@pytest.mark.parametrize(("states", "step", "orders"), [(24, 0.02, (13, 16, 17, 20, 23, 24)), (64, 0.01, (16, 48, 64))])
def test_more_shared_poles_never_do_worse(states: int, step: float, orders: tuple[int, ...]) -> None:
    own, response = legs(states, (step,) * 3)
    tie = Tie(own.poles[:1], torch.zeros(3, dtype=torch.int64), torch.ones(3, dtype=torch.float64))
    bank = System(*own.arrays(), tie=tie)
    best = np.inf
    for order in orders:
        reduced = reduce_tied(bank, order, "gradient", TAPS).system
        reached = float(np.linalg.norm(missed(reduced, response) * np.linalg.norm(response, axis=-1)))
        assert reached <= 1.01 * best + 1e-5 * np.linalg.norm(response), order
        best = min(best, reached)


@pytest.mark.slow
def test_full_order_near_a_hippo_initialisation_is_what_float32_allows() -> None:
    system, response = legs(64, (0.001, 0.01, 0.1))
    assert (missed(reduce_system(system, 64, "gradient", TAPS).system, response) < 1e-3).all()
