"""Poles of 16 bits a number: near the given ones, stable, and found again by their values."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from ssm2edge.systems.coarse_poles import MOST, SLOWEST, codes_of, coefficients_of


def pairs(moduli: Tensor, angles: Tensor) -> tuple[Tensor, Tensor]:
    """Return coefficients a and b of one channel with these conjugate pairs."""
    real, height = moduli * torch.cos(angles), moduli * torch.sin(angles)
    return torch.stack((real, real), -1).flatten()[None], torch.stack((-height, height), -1).flatten()[None]


def drawn(count: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    moduli = 1 - 10 ** (-4.2 * torch.rand(count, generator=generator, dtype=torch.float64))
    return moduli, torch.pi * (torch.rand(count, generator=generator, dtype=torch.float64) ** 3).clamp(1e-4, 1 - 1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_decays_and_angles_stay_near(seed: int) -> None:
    given = drawn(4000, seed)
    a, b = coefficients_of(codes_of(*pairs(*given)))
    found = (a[0, ::2].double() + 1j * b[0, 1::2].double()).numpy()
    moduli, angles = (x.numpy() for x in given)
    decays = -np.log(np.abs(found)) / -np.log(moduli)
    # A step is 1/192 of the root at the slowest, and float32 has a share in 1 - |p|.
    assert np.abs(decays - 1).max() < 0.01
    side = np.minimum(angles, np.pi - angles)
    assert (np.abs(np.angle(found) - angles) < 1e-3 * side + 1e-6).all()
    assert (np.abs(np.angle(found) - angles) < 8e-5).all()


def test_real_poles_of_either_sign_stay_near() -> None:
    poles = torch.linspace(-0.9998, 0.9999, 1000, dtype=torch.float64)[None]
    a, b = coefficients_of(codes_of(poles, torch.zeros_like(poles)))
    assert not b.any()
    assert float((a - poles).abs().max()) < 2.0**-14
    assert float(((1 - a[poles > 0]) / (1 - poles[poles > 0]) - 1).abs().max()) < 0.01


@pytest.mark.parametrize("seed", range(3))
def test_codes_are_found_again_and_poles_are_stable(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    decays = torch.arange(SLOWEST, MOST + 1)
    angles = torch.randint(1, MOST + 1, decays.shape, generator=generator)
    angles = angles // torch.tensor([1, 300])[torch.randint(0, 2, decays.shape, generator=generator)]
    angles = angles.clamp_min(1) * (1 - 2 * torch.randint(0, 2, decays.shape, generator=generator))
    of_pairs, singles = torch.stack((-decays, angles), -1), torch.stack((decays, decays.flip(0)), -1)
    codes = torch.cat((of_pairs, singles)).to(torch.int16)[None]
    a, b = coefficients_of(codes)
    assert torch.equal(codes_of(a, b), codes)
    assert a.dtype == b.dtype == torch.float32
    assert float(torch.hypot(a.double(), b.double()).max()) < 1


def test_poles_too_slow_for_16_bits_stay_inside() -> None:
    a, b = coefficients_of(codes_of(*pairs(torch.tensor([1 - 1e-12, 1.0]).double(), torch.tensor([0.3, 2.0]).double())))
    assert float(torch.hypot(a.double(), b.double()).max()) < 1
