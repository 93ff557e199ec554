"""Coefficients of reduced layers in few bits: the layer stays what it is, and poles stay to the last bit."""

from __future__ import annotations

import copy

import pytest
import torch

from ssm2edge.layers import Block, block_of
from ssm2edge.quantisation import grid_of, round_block
from ssm2edge.quantisation.grid import fits_half
from ssm2edge.quantisation.systems import UNKNOWN
from ssm2edge.systems.norms import h2_error, h2_norm
from ssm2edge.systems.system import siso_bank
from tests.random_banks import random_bank
from tests.random_mimo import random_mimo


def made(kind: str) -> Block:
    return block_of(random_bank(12, 6, seed=1) if kind == "bank" else random_mimo(8, 12, 10, seed=1))


@pytest.mark.parametrize("horizon", [64, None])
@pytest.mark.parametrize("kind", ["bank", "mimo"])
def test_the_response_stays_and_the_poles_too(kind: str, horizon: int | None) -> None:
    block = made(kind)
    before, dynamics = block.system(), block.dynamics.detach().clone()
    round_block(block, horizon)
    assert torch.equal(block.dynamics, dynamics)
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
def test_rounding_twice_is_rounding_once(allowed: float) -> None:
    block = made("mimo")
    round_block(block, 64, allowed)
    again = copy.deepcopy(block)
    round_block(again, 64)
    assert all(torch.equal(x, y) for x, y in zip(block.parameters(), again.parameters(), strict=True))


def test_residues_that_cancel_stay_as_they_are() -> None:
    """Two poles that nearly meet, with residues whose difference is all that is heard."""
    poles = torch.tensor([[0.9 + 0j, 0.9001 + 0j]], dtype=torch.complex128)
    residues = torch.tensor([[1000.0 + 0j, -1000.2 + 0j]], dtype=torch.complex128)
    block = block_of(siso_bank(poles, residues, torch.zeros(1, dtype=torch.float64)))
    before = [x.detach().clone() for x in block.parameters()]
    round_block(block, 64)
    assert all(torch.equal(x, y) for x, y in zip(block.parameters(), before, strict=True))
