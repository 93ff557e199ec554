"""Systems at their own order are returned as they are, or, where float32 cannot hold them, as ones that it can."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ssm2edge.reduction import reduce_system
from ssm2edge.systems.dense import DenseSystem, to_modal
from ssm2edge.systems.system import System, concatenate, siso_bank
from tests.random_banks import random_bank
from tests.slow_cases import slow

ORDER, TAPS = 16, 200


def far_from_normal(channels: int) -> tuple[System, np.ndarray]:
    """HiPPO-LegS by the bilinear rule, and its impulse responses by powers of the matrix."""
    q = np.arange(ORDER)
    root = np.sqrt(2 * q + 1)
    A = -np.tril(np.outer(root, root), -1) - np.diag(q + 1)
    C = np.random.default_rng(0).standard_normal((channels, ORDER))
    systems, responses = [], []
    for row, dt in zip(C, np.geomspace(0.01, 0.1, channels), strict=True):
        inverse = np.linalg.inv(np.eye(ORDER) - dt * A / 2)
        dA, dB = inverse @ (np.eye(ORDER) + dt * A / 2), inverse @ (dt * root)
        responses.append([0.0] + [row @ np.linalg.matrix_power(dA, k) @ dB for k in range(TAPS)])
        parts = (torch.from_numpy(np.ascontiguousarray(x)) for x in (dA, dB[:, None], row[None], np.zeros((1, 1))))
        systems.append(DenseSystem(*(x[None] for x in parts)))
    return concatenate([to_modal(system) for system in systems]), np.array(responses)


def as_float32(system: System) -> np.ndarray:
    """Impulse responses with residues rounded to float32."""
    residues = system.residues.to(torch.complex64).to(torch.complex128)
    powers = system.poles[..., None] ** torch.arange(TAPS)
    later = (residues[..., None] * powers).sum(-2).real.numpy()
    return np.concatenate([system.D[:, 0].numpy(), later], axis=1)


def relative(actual: np.ndarray, expected: np.ndarray) -> np.ndarray:
    return np.linalg.norm(actual - expected, axis=-1) / np.linalg.norm(expected, axis=-1)


def test_banks_beyond_float32_become_ones_that_it_holds() -> None:
    system, responses = far_from_normal(4)
    assert (relative(as_float32(system), responses) > 1e-2).all()
    result = reduce_system(system, ORDER, "gradient", TAPS)
    assert result.outcome_counts == {"repaired": 4}
    assert result.system.order == ORDER
    reached = relative(as_float32(result.system), responses)
    assert (reached < 3e-2).all()
    np.testing.assert_allclose(result.relative_error, reached, atol=2e-4)


def test_other_channels_stay_to_the_last_bit() -> None:
    plain, (awkward, _) = random_bank(3, ORDER), far_from_normal(1)
    result = reduce_system(concatenate([plain, awkward]), ORDER, "gradient", TAPS)
    assert result.outcome_counts == {"identity": 3, "repaired": 1}
    for name in ("poles", "B", "C", "D"):
        assert torch.equal(getattr(result.system, name)[:3], getattr(plain, name))


@pytest.mark.slow
def test_orders_below_the_own_one_are_not_won_by_what_float32_cannot_hold() -> None:
    system, responses = far_from_normal(4)
    for order in (8, 12, 15):
        result = reduce_system(system, order, "gradient", TAPS)
        in_float32 = relative(as_float32(result.system), responses)
        assert (in_float32 <= 1.5 * result.relative_error.numpy() + 1e-6).all(), order


@pytest.mark.parametrize("gap", [1e-3, slow(1e-6), slow(1e-9), 1e-12])
@pytest.mark.parametrize("horizon", [128, 4096])
def test_slow_poles_are_no_noise(gap: float, horizon: int) -> None:
    """An integrator remembers for ever: its rounding is that of its residue, however slow it is."""
    slow, quick = torch.tensor([1 - gap, 0.5], dtype=torch.complex128), torch.tensor([0.01, 1e-4], dtype=torch.complex128)
    one = siso_bank(slow[None, :1], quick[None, :1], torch.zeros(1, dtype=torch.float64))
    own = reduce_system(one, 1, "gradient", horizon)
    assert own.outcome_counts == {"identity": 1}
    assert float(own.relative_error) == 0
    two = siso_bank(slow[None], quick[None], torch.zeros(1, dtype=torch.float64))
    balanced, gradient = (reduce_system(two, 1, method, horizon) for method in ("balanced", "gradient"))
    assert float(gradient.relative_error) <= 1.05 * float(balanced.relative_error)
