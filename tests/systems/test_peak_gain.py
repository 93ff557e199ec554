"""The H-infinity norm against a dense frequency grid and against single modes known in closed form."""

from __future__ import annotations

import pytest
import torch

from ssm2edge.systems.peak_gain import hinf_norm
from ssm2edge.systems.response import frequency_response
from ssm2edge.systems.system import System, from_conjugate_half, siso_bank


def random_system(batch: int, n: int, m: int, p: int, slowest: float) -> System:
    generator = torch.Generator().manual_seed(n + m + p)
    modulus = 1 - slowest * 10 ** (torch.rand(batch, n // 2, generator=generator).double())
    poles = torch.polar(modulus, torch.rand(batch, n // 2, generator=generator).double() * 3.1)
    B = torch.randn(batch, n // 2, m, dtype=torch.complex128, generator=generator)
    C = torch.randn(batch, p, n // 2, dtype=torch.complex128, generator=generator)
    return from_conjugate_half(poles, B, C, torch.randn(batch, p, m, generator=generator).double())


@pytest.mark.parametrize(("m", "p"), [(1, 1), (2, 3)])
@pytest.mark.parametrize("slowest", [1e-2, 1e-3])
def test_norm_is_the_peak_of_a_fine_grid(m: int, p: int, slowest: float) -> None:
    system = random_system(4, 10, m, p, slowest)
    grid = torch.linspace(0, torch.pi, 60_000, dtype=torch.float64)
    gains = torch.cat(
        [torch.linalg.matrix_norm(frequency_response(system, w).movedim(-1, -3), ord=2) for w in grid.split(6000)], dim=-1
    ).amax(-1)
    norm = hinf_norm(system)
    assert (norm >= gains * (1 - 1e-12)).all()
    torch.testing.assert_close(norm, gains, rtol=2e-3 * (1e-3 / slowest) + 1e-5, atol=0)


def test_norm_of_a_real_mode_is_its_gain_at_zero_or_at_nyquist() -> None:
    poles = torch.tensor([[0.9], [-0.999], [0.5]], dtype=torch.complex128)
    system = siso_bank(poles, torch.ones_like(poles), torch.zeros(3, dtype=torch.float64))
    torch.testing.assert_close(hinf_norm(system), torch.tensor([10.0, 1000.0, 2.0], dtype=torch.float64), rtol=1e-10, atol=0)


def test_the_norm_of_a_stacked_batch_has_its_shape() -> None:
    system = random_system(4, 6, 1, 1, 1e-2)
    reshaped = System(*(x.reshape(2, 2, *x.shape[1:]) for x in (system.poles, system.B, system.C, system.D)))
    torch.testing.assert_close(hinf_norm(reshaped).flatten(), hinf_norm(system))
