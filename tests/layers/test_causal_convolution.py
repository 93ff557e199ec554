"""Causal convolution equals the sum that defines it, and its derivatives equal finite differences."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import forward_ad, gradcheck

from ssm2edge.layers.block import ReducedBank
from ssm2edge.layers.convolution import causal_convolution
from ssm2edge.systems.system import from_conjugate_half


@pytest.mark.parametrize("length", [1, 2, 13, 64])
def test_it_equals_the_sum_that_defines_it(length: int) -> None:
    u, kernel = torch.randn(3, 2, length, dtype=torch.float64), torch.randn(2, length, dtype=torch.float64)
    expected = torch.zeros_like(u)
    for k in range(length):
        expected[..., k:] += kernel[:, k, None] * u[..., : length - k]
    assert torch.allclose(causal_convolution(u, kernel), expected, atol=1e-12)


def test_derivatives_equal_finite_differences() -> None:
    u = torch.randn(3, 2, 11, dtype=torch.float64, requires_grad=True)
    kernel = torch.randn(2, 11, dtype=torch.float64, requires_grad=True)
    assert gradcheck(causal_convolution, (u, kernel))


def test_the_kernel_has_the_same_derivatives_forward_and_backward() -> None:
    poles = torch.tensor([[0.8 + 0.3j, 0.5 + 0.1j]], dtype=torch.complex128)
    D = torch.zeros(1, 1, 1, dtype=torch.float64)
    bank = ReducedBank(from_conjugate_half(poles, torch.ones(1, 2, 1), torch.ones(1, 1, 2), D))
    (backward,) = torch.autograd.grad(bank.kernel(20)[0, 7], bank.dynamics)
    held = bank.dynamics.detach()
    for place in range(4):
        tangent = torch.zeros_like(held)
        tangent[0, place] = 1
        with forward_ad.dual_level():
            del bank.dynamics
            bank.dynamics = forward_ad.make_dual(held, tangent)
            forward = forward_ad.unpack_dual(bank.kernel(20)).tangent
        assert torch.allclose(forward[0, 7].float(), backward[0, place], rtol=1e-4, atol=1e-6)
