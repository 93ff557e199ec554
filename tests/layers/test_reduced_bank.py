"""The block in a layer's place: its kernel is its recurrence, its gradients are right, and no training makes it unstable."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.func import functional_call

from ssm2edge.layers import dynamics
from ssm2edge.layers.block import ExportedBank, ReducedBank
from ssm2edge.systems.system import System, siso_bank
from tests.random_banks import filtered_by, random_bank, response_of

EXTREMES = (
    st.floats(-(2.0**100), 2.0**100, width=32) | st.floats(-8, 8, width=32) | st.sampled_from([-0.0, -80.0, 6.0, 88.0, 720.0])
)


def simulated(bank: ReducedBank, length: int) -> NDArray[np.float64]:
    """Impulse responses by running the real sections sample by sample, all channels at once."""
    sections = bank.sections()
    a, b, c, d = (x.detach().numpy() for x in (sections.a, sections.b, sections.c, sections.d))
    x, taps = np.zeros_like(a), [d]
    x = x + 1
    for _ in range(length - 1):
        taps.append((c * x).sum(-1))
        crossed = x.copy()
        even = x.shape[-1] // 2 * 2
        crossed[:, 0:even:2], crossed[:, 1:even:2] = x[:, 1:even:2], x[:, 0:even:2]
        x = a * x + b * crossed
    return np.stack(taps, -1)


@pytest.mark.parametrize("length", [1, 2, 3, 50, 64])
@pytest.mark.parametrize("order", [1, 2, 3, 6, 7])
def test_kernel_is_the_recurrence(order: int, length: int) -> None:
    bank = ReducedBank(random_bank(5, order, seed=order))
    np.testing.assert_allclose(bank.kernel(length).detach(), simulated(bank, length), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3, 6, 7])
def test_kernel_is_the_systems_up_to_float32(order: int) -> None:
    system = random_bank(5, order, seed=order)
    np.testing.assert_allclose(ReducedBank(system).kernel(60).detach(), response_of(system, 60), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pole", [0.0, 1e-60, -1e-60, 1e-10j, -0.5, 1 - 1e-12])
def test_extreme_poles_keep_their_response(pole: complex) -> None:
    other = complex(pole).conjugate()
    poles = torch.tensor([[complex(pole), other]], dtype=torch.complex128)
    system = siso_bank(poles, torch.ones_like(poles), torch.zeros(1, dtype=torch.float64))
    bank = ReducedBank(system)
    kernel = bank.kernel(20)
    np.testing.assert_allclose(kernel.detach(), response_of(system, 20), rtol=1e-5, atol=1e-6)
    kernel.square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in bank.parameters() if p.grad is not None)


@pytest.mark.parametrize("length", [1, 2, 33])
def test_forward_is_causal_convolution(length: int) -> None:
    system = random_bank(4, 5)
    u = np.random.default_rng(1).standard_normal((3, 4, length)).astype(np.float32)
    expected = filtered_by(response_of(system, length), u)
    for block in (ReducedBank(system), ExportedBank(ReducedBank(system))):
        with torch.no_grad():
            np.testing.assert_allclose(block(torch.from_numpy(u)), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("order", [1, 4, 7])
def test_parameters_are_two_a_state_and_one_a_channel(order: int) -> None:
    assert sum(p.numel() for p in ReducedBank(random_bank(5, order)).parameters()) == 5 * (2 * order + 1)


def test_gradients_are_finite_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    # Without the rounding of the poles to float32 the block is smooth; everything then runs in float64.
    monkeypatch.setattr(dynamics, "_rounded", lambda values: values)
    bank = ReducedBank(random_bank(3, 5, seed=2))
    u = torch.randn(2, 3, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    names = [name for name, _ in bank.named_parameters()]
    values = tuple(p.detach().double().requires_grad_() for p in bank.parameters())

    def outputs(*parameters: torch.Tensor) -> torch.Tensor:
        return functional_call(bank, dict(zip(names, parameters, strict=True)), (u,))

    assert torch.autograd.gradcheck(outputs, values)


def test_rounding_leaves_the_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    def gradients() -> list[torch.Tensor]:
        bank = ReducedBank(random_bank(3, 5, seed=2))
        bank.kernel(30).square().sum().backward()
        return [p.grad for p in bank.parameters() if p.grad is not None]

    rounded = gradients()
    monkeypatch.setattr(dynamics, "_rounded", lambda values: values)
    for one, other in zip(rounded, gradients(), strict=True):
        assert (one != 0).any()
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(EXTREMES, min_size=10, max_size=10))
def test_any_dynamics_are_stable(values: list[float]) -> None:
    bank = ReducedBank(random_bank(2, 5, seed=4, pairs=1))
    with torch.no_grad():
        bank.dynamics.copy_(torch.tensor(values, dtype=torch.float32).reshape(2, 5))
    system = bank.system()
    assert (system.poles.abs() < 1).all()
    kernel = bank.kernel(20)
    np.testing.assert_allclose(kernel.detach(), simulated(bank, 20), rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(kernel.detach(), response_of(system, 20), rtol=1e-9, atol=1e-10)
    kernel.square().sum().backward()
    assert bank.dynamics.grad is not None
    assert torch.isfinite(bank.dynamics.grad).all()


def test_training_with_a_reckless_step_stays_stable() -> None:
    torch.manual_seed(0)
    bank = ReducedBank(random_bank(4, 6, seed=5, largest=0.999))
    start = bank.system().poles
    optimiser = torch.optim.Adam(bank.parameters(), lr=2.0)
    u = torch.randn(2, 4, 64)
    for _ in range(12):
        optimiser.zero_grad()
        (-bank(u).square().mean()).backward()
        optimiser.step()
        system = bank.system()
        assert (system.poles.abs() < 1).all()
        assert torch.isfinite(bank.kernel(64)).all()
        assert (system.poles[:, ::2].imag >= 0).all()
    assert (system.poles - start).abs().max() > 0.1


def test_trained_blocks_can_become_blocks_again() -> None:
    bank = ReducedBank(random_bank(4, 7, seed=6))
    with torch.no_grad():
        bank.dynamics.add_(torch.randn(4, 7, generator=torch.Generator().manual_seed(1)) * 2)
    again = ReducedBank(bank.system())
    np.testing.assert_allclose(again.kernel(40).detach(), bank.kernel(40).detach(), rtol=1e-4, atol=1e-5)


def test_saved_blocks_load() -> None:
    one, other = ReducedBank(random_bank(3, 5, seed=1)), ReducedBank(random_bank(3, 5, seed=2))
    other.load_state_dict(one.state_dict())
    torch.testing.assert_close(other.kernel(20), one.kernel(20), rtol=0, atol=0)


def test_systems_that_are_no_stable_bank_are_refused() -> None:
    system = random_bank(3, 4)
    for radius in (1.0, 1.2, float("nan")):
        poles = system.poles.clone()
        poles[1] = radius
        with pytest.raises(ValueError, match="stable"):
            ReducedBank(System(poles, system.B, system.C, system.D))
    with pytest.raises(ValueError, match="batch shape"):
        ReducedBank(system[0])
