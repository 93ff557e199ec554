"""Zeros around causal filters leave the graph with the cuts that undo them, and nothing else does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models.digits.model import S4D
from ssm2edge.layers import ReducedBank, ReducedMimo, exportable
from ssm2edge.systems.system import System, siso_bank
from ssm2edge.traced import InputAxes, TracedModel, trace
from tests.random_banks import random_bank

CHANNELS = 3
pad = nn.functional.pad


def mimo() -> System:
    bank = random_bank(1, 4, seed=3)
    B = torch.ones(4, CHANNELS, dtype=torch.complex128)
    C = bank.residues.expand(CHANNELS, -1).contiguous()
    return System(bank.poles[0], B, C, torch.eye(CHANNELS, dtype=torch.float64))


class Filtering(nn.Module):
    """A block, and a function that calls it."""

    def __init__(self, function: Callable[..., Tensor], block: nn.Module) -> None:
        super().__init__()
        self.block = block
        self.offset = nn.Parameter(torch.randn(CHANNELS, 1))
        self.function = function

    def forward(self, u: Tensor) -> Tensor:
        return self.function(self, u) * 2.0


def names_of(traced: TracedModel) -> list[str]:
    return [getattr(getattr(node.target, "overloadpacket", None), "__name__", "") for node in traced.program.graph.nodes]


def traced_with(function: Callable[..., Tensor], block: nn.Module, shape: tuple[int, ...], axis: int) -> TracedModel:
    torch.manual_seed(0)
    model = Filtering(function, block).eval()
    traced = trace(exportable(model), [InputAxes("u", axis, torch.zeros(shape))])
    for length in (1, 2, 11, 40):
        size = list(shape)
        size[0], size[axis] = 2, length
        u = torch.randn(size)
        with torch.no_grad():
            expected, actual = model(u), traced.program.module()(u)
        assert actual.shape == expected.shape
        assert torch.allclose(actual, expected, rtol=1e-5, atol=1e-5)
    return traced


def bank() -> nn.Module:
    system = random_bank(CHANNELS, 4)
    assert isinstance(siso_bank(system.poles, system.residues, system.D[:, 0, 0]), System)
    return ReducedBank(system)


@pytest.mark.parametrize(
    "function",
    [
        lambda m, u: m.block(pad(u, (9, 0)))[..., 9:],
        lambda m, u: m.block(pad(u, (0, 9)))[..., : u.shape[-1]],
        lambda m, u: m.block(pad(u, (9, 4)))[..., 9 : 9 + u.shape[-1]],
        lambda m, u: (m.block(pad(u, (0, 9))) + m.offset)[..., : u.shape[-1]],
        lambda m, u: (0.5 * m.block(pad(u, (9, 0))) - m.offset)[..., 9:],
        lambda m, u: m.block(pad(u, (9, 0)))[:, :, 9:],
    ],
)
def test_padding_that_is_cut_off_again_leaves_banks(function: Callable[..., Tensor]) -> None:
    names = names_of(traced_with(function, bank(), (1, CHANNELS, 8), 2))
    assert "siso_bank" in names
    assert not {"pad", "constant_pad_nd"} & set(names)


@pytest.mark.parametrize(
    "function",
    [
        lambda m, u: m.block(pad(u, (0, 0, 9, 0)))[:, 9:],
        lambda m, u: (m.block(pad(u, (0, 0, 0, 9))) + m.offset[:, 0])[:, : u.shape[1]],
    ],
)
def test_padding_that_is_cut_off_again_leaves_systems_of_many_inputs(function: Callable[..., Tensor]) -> None:
    names = names_of(traced_with(function, ReducedMimo(mimo()), (1, 8, CHANNELS), 1))
    assert "mimo" in names
    assert not {"pad", "constant_pad_nd"} & set(names)


def ones_like_time(u: Tensor) -> Tensor:
    return torch.cumsum(torch.ones_like(u[:, :1]), -1)


@pytest.mark.parametrize(
    "function",
    [
        # The cut takes another part, or the tail is looked at.
        lambda m, u: m.block(pad(u, (9, 0)))[..., 8:-1],
        lambda m, u: m.block(pad(u, (0, 9)))[..., 9:],
        lambda m, u: m.block(pad(u, (0, 9))),
        lambda m, u: m.block(pad(u, (0, 9)))[..., : u.shape[-1]] + m.block(pad(u, (0, 9)))[..., 9:],
        # Not zeros.
        lambda m, u: m.block(pad(u, (9, 0), value=1.0))[..., 9:],
        # What is added follows time.
        lambda m, u: (m.block(pad(u, (9, 0))) + ones_like_time(pad(u, (9, 0))))[..., 9:],
        # A function of time stands between.
        lambda m, u: m.block(pad(u, (9, 0))).cumsum(-1)[..., 9:] + m.block(pad(u, (9, 0))).flip(-1)[..., 9:],
    ],
)
def test_padding_that_matters_stays(function: Callable[..., Tensor]) -> None:
    names = names_of(traced_with(function, bank(), (1, CHANNELS, 8), 2))
    assert {"pad", "constant_pad_nd"} & set(names)


def test_an_untouched_program_stays_as_it_is() -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(CHANNELS, CHANNELS, 3)
            self.inner = S4D(CHANNELS, 4)

        def forward(self, u: Tensor) -> Any:
            return self.conv(pad(u, (2, 0)))[..., : u.shape[-1]]

    traced = trace(Plain().eval(), [InputAxes("u", 2, torch.zeros(1, CHANNELS, 8))])
    assert "pad" in names_of(traced)
