"""Coefficients of reduced layers in few bits: the layer stays what it is."""

from __future__ import annotations

import copy

import pytest
import torch

from ssm2edge.layers import Block, ReducedBank, block_of
from ssm2edge.quantisation import grid_of, round_block
from ssm2edge.quantisation.grid import fits_half
from ssm2edge.quantisation.systems import UNKNOWN
from ssm2edge.systems.coarse_poles import codes_of, coefficients_of
from ssm2edge.systems.norms import h2_error, h2_norm
from ssm2edge.systems.system import System, siso_bank
from tests.random_banks import random_bank
from tests.random_mimo import random_mimo


def made(kind: str) -> Block:
    return block_of(random_bank(12, 6, seed=1) if kind == "bank" else random_mimo(8, 12, 10, seed=1))


@pytest.mark.parametrize("horizon", [64, None])
@pytest.mark.parametrize("kind", ["bank", "mimo"])
def test_the_response_stays(kind: str, horizon: int | None) -> None:
    block = made(kind)
    before = block.system()
    round_block(block, horizon)
    error = float(h2_error(before, block.system(), horizon).norm())
    assert 0 < error <= UNKNOWN * float(h2_norm(before, horizon).norm())


def test_a_bank_has_halves_and_a_large_system_integers() -> None:
    bank, mimo = made("bank"), made("mimo")
    for block in (bank, mimo):
        round_block(block, 64, 0.02)
    values = dict(bank.named_parameters())
    assert fits_half(values["output"].detach().numpy())
    for name in ("input", "output"):
        assert grid_of(dict(mimo.named_parameters())[name].detach().numpy(), 8) is not None


@pytest.mark.parametrize("allowed", [1e-3, 0.02])
@pytest.mark.parametrize("kind", ["bank", "mimo"])
def test_rounding_twice_is_rounding_once(kind: str, allowed: float) -> None:
    block = made(kind)
    round_block(block, 64, allowed)
    again = copy.deepcopy(block)
    round_block(again, 64)
    assert all(torch.equal(x, y) for x, y in zip(block.parameters(), again.parameters(), strict=True))
    assert torch.equal(block.system().poles, again.system().poles)


def test_poles_of_banks_have_16_bits_where_they_hold() -> None:
    """Those of an odd order, of which none are stored so, stay as they are, and those of a memory too long for them."""
    bank = made("bank")
    assert isinstance(bank, ReducedBank)
    poles = bank.system().poles
    round_block(bank, 64)
    sections = bank.sections()
    assert not torch.equal(bank.system().poles, poles)
    assert all(
        torch.equal(x.float(), y)
        for x, y in zip((sections.a, sections.b), coefficients_of(codes_of(sections.a, sections.b)), strict=True)
    )
    odd, slow = block_of(random_bank(12, 5, seed=1)), block_of(slow_bank())
    for block in (odd, slow):
        before = block.system()
        round_block(block, 1 << 20)
        assert torch.equal(before.poles, block.system().poles)


def slow_bank() -> System:
    poles = torch.tensor([[0.999999 * torch.exp(torch.tensor(0.7j))]], dtype=torch.complex128)
    one = torch.ones_like(poles)
    return siso_bank(torch.cat((poles, poles.conj()), 1), torch.cat((one, one), 1), torch.zeros(1, dtype=torch.float64))


def test_training_goes_on_with_poles_of_16_bits() -> None:
    bank = made("bank")
    assert isinstance(bank, ReducedBank)
    bank.coarse = True
    bank.kernel(20).square().sum().backward()
    coarse = bank.dynamics.grad
    bank.dynamics.grad, bank.coarse = None, False
    bank.kernel(20).square().sum().backward()
    assert coarse is not None
    assert bank.dynamics.grad is not None
    torch.testing.assert_close(coarse, bank.dynamics.grad, rtol=0.01, atol=0.01 * float(bank.dynamics.grad.abs().max()))


def test_residues_that_cancel_stay_as_they_are() -> None:
    """Two poles that nearly meet, with residues whose difference is all that is heard."""
    poles = torch.tensor([[0.9 + 0j, 0.9001 + 0j]], dtype=torch.complex128)
    residues = torch.tensor([[1000.0 + 0j, -1000.2 + 0j]], dtype=torch.complex128)
    block = block_of(siso_bank(poles, residues, torch.zeros(1, dtype=torch.float64)))
    before = [x.detach().clone() for x in block.parameters()]
    round_block(block, 64)
    assert all(torch.equal(x, y) for x, y in zip(block.parameters(), before, strict=True))
