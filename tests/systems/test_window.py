"""Window sums equal the sums they abbreviate, everywhere in the disc and on the way to q = 1."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ssm2edge.systems.window import pole_powers, window_sum, window_sums

GAPS_TO_ONE = [0.0, 1e-15, 1e-9, 1e-6, 3e-5, 1e-4, 1e-3, 1e-2, 0.5, 1.0]


@pytest.mark.parametrize("horizon", [1, 2, 7, 784, 4096])
@pytest.mark.parametrize("angle", [0.0, 1e-4, 0.3, 3.1])
@pytest.mark.parametrize("modulus", [0.95, 0.9999, 1.0])
def test_sums_and_derivatives_equal_sums_in_extended_precision(horizon: int, angle: float, modulus: float) -> None:
    left = torch.tensor([complex(1 - gap) for gap in GAPS_TO_ONE], dtype=torch.complex128)
    right = torch.tensor([modulus * np.exp(1j * angle)], dtype=torch.complex128)
    q = left.numpy().astype(np.clongdouble) * right.numpy().astype(np.clongdouble)
    powers = np.cumprod(np.vstack([np.ones_like(q)] + [q] * (horizon - 1)), axis=0)
    taps = np.arange(horizon, dtype=np.longdouble)[:, None]
    for order, computed in enumerate(window_sums(left, right, horizon)):
        exact = (taps**order * powers).sum(0)
        # Relative to the sum of moduli: the sum itself may cancel.
        size = (taps**order * np.abs(powers)).sum(0)
        assert np.all(np.abs(computed[:, 0].numpy() - exact) <= 1e-11 * size + 1e-14)


def test_infinite_sums_are_the_limit_of_finite_ones() -> None:
    poles = torch.tensor([0.9 + 0.1j, -0.5, 0.3j], dtype=torch.complex128)
    for infinite, finite in zip(window_sums(poles, poles.conj(), None), window_sums(poles, poles.conj(), 2000), strict=True):
        torch.testing.assert_close(infinite, finite, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(window_sum(poles, poles, None), window_sums(poles, poles, None)[0], rtol=0, atol=0)


def test_powers_are_exact_at_zero_and_one() -> None:
    poles = torch.tensor([0, 1, 1j], dtype=torch.complex128)
    assert pole_powers(poles, 784).tolist() == [0, 1, 1]
    assert pole_powers(poles, 0).tolist() == [1, 1, 1]


@pytest.mark.parametrize("batch", [1, 2])
def test_long_systems_have_the_sums_of_their_parts(batch: int) -> None:
    # 300 x 300 products of poles are more than one block holds.
    angles = torch.linspace(-3, 3, 300 * batch, dtype=torch.float64).reshape(batch, 300)
    poles = 0.9 * torch.exp(1j * angles)
    parts = [window_sum(poles[:, i : i + 100], poles, 784) for i in (0, 100, 200)]
    torch.testing.assert_close(window_sum(poles, poles, 784), torch.cat(parts, -2))
