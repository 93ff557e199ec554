"""Layers whose channels share poles: blocks store them once, compute the same, and no order makes the layer larger."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from ssm2edge.layers import TiedBank, blocks, dynamics, find_layers, replace_layers
from ssm2edge.original.recording import count_parameters
from ssm2edge.reduction.layerwise import reduce_layers
from ssm2edge.reduction.tied import shares_poles
from ssm2edge.systems.norms import h2_error, h2_norm
from tests.published_s4 import FFTConv, S4Block
from tests.random_banks import response_of
from tests.slow_cases import slow_but

STATES, LENGTH = 8, 40

TIED: list[dict[str, Any]] = [
    {"sets": 1},
    {"sets": 1, "rank": 1},
    {"sets": 2, "disc": "bilinear"},
    {"sets": 1, "is_real": True},
    {"channels": 3},
    {"channels": 2, "rank": 1, "sets": 2, "swap_channels": True},
    {"bidirectional": True, "sets": 1},
    {"bidirectional": True, "sets": 1, "rank": 2, "channels": 2},
    {"bidirectional": True},
    {"activation": "glu", "sets": 1, "frozen": ("A_real", "A_imag", "inv_dt")},
]


def layer_of(options: dict[str, Any]) -> FFTConv:
    torch.manual_seed(0)
    return FFTConv(4, **{"d_state": STATES, **options}).eval()


@pytest.mark.parametrize("options", slow_but(TIED[::4], TIED), ids=str)
def test_a_tied_layer_never_grows(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = S4Block(4, d_state=STATES, **options).eval()
    found = find_layers(model)
    before = sum(part.parameters for part in found)
    model_before = count_parameters(model) + sum(part.frozen for part in found)
    systems = {part.name: part.system for part in found}
    assert all(part.kind == ("SISO bank with shared poles" if part.system.tie else "SISO bank") for part in found)
    for order in range(1, STATES + 1):
        reductions = reduce_layers(systems, dict.fromkeys(systems, order), "balanced", LENGTH)
        replaced = replace_layers(model, {name: reduction.system for name, reduction in reductions.items()})
        inside = blocks(replaced)
        assert count_parameters(nn.ModuleList(inside.values())) <= before, order
        assert count_parameters(replaced) <= model_before, order
        for name, block in inside.items():
            assert isinstance(block, TiedBank) == shares_poles(systems[name], order)
            assert float(h2_error(reductions[name].system, block.system(), LENGTH).norm()) < 1e-4 * float(
                h2_norm(systems[name], LENGTH).norm()
            )


@pytest.mark.parametrize("options", TIED, ids=str)
def test_blocks_count_their_numbers_and_give_their_system_back(options: dict[str, Any]) -> None:
    for part in find_layers(layer_of(options)):
        tie = part.system.tie
        if tie is None:
            continue
        block = TiedBank(part.system)
        silent = len(part.system.D) if bool((part.system.D == 0).all()) else 0
        assert sum(p.numel() for p in block.parameters()) == tie.numbers(STATES) - silent
        again = block.system()
        assert again.tie is not None
        assert again.tie.rule == tie.rule
        torch.testing.assert_close(again.tie.generator, tie.generator, rtol=1e-5, atol=1e-6)
        expected = response_of(part.system, LENGTH)
        np.testing.assert_allclose(response_of(again, LENGTH), expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
        np.testing.assert_allclose(TiedBank(again).kernel(LENGTH).detach(), block.kernel(LENGTH).detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", [{"sets": 1}, {"sets": 2, "disc": "bilinear"}, {"channels": 2}], ids=str)
def test_gradients_are_finite_differences(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dynamics, "_rounded", lambda values: values)
    (part,) = find_layers(layer_of(options))
    bank = TiedBank(part.system)
    u = torch.randn(2, len(part.system.D), 9, dtype=torch.float64)
    names = [name for name, _ in bank.named_parameters()]
    values = tuple(p.detach().double().requires_grad_() for p in bank.parameters())

    def outputs(*parameters: Tensor) -> Tensor:
        return functional_call(bank, dict(zip(names, parameters, strict=True)), (u,))

    assert torch.autograd.gradcheck(outputs, values)


def test_directions_that_share_their_poles_store_them_once() -> None:
    replaced = replace_layers(
        layer := layer_of({"bidirectional": True, "sets": 1}), {part.name: part.system for part in find_layers(layer)}
    )
    causal, anticausal = blocks(replaced).values()
    assert isinstance(causal, TiedBank)
    assert isinstance(anticausal, TiedBank)
    assert causal.dynamics is anticausal.dynamics
    assert causal.log_steps is anticausal.log_steps
    assert "feedthrough" not in dict(anticausal.named_parameters())
