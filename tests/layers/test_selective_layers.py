"""Selective layers are named with the reason, and stay; the LTI layers beside them are reduced."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from models.digits.model import S4D
from ssm2edge.layers import LayerError, find_layers, find_refused, replace_layers


def with_parts(kind: type[nn.Module], *names: str) -> nn.Module:
    """A module with parameters and modules of the given names; ``*_proj`` and ``*_gate`` are modules."""
    module = kind()
    for name in names:
        if name.endswith(("_proj", "_gate")):
            module.add_module(name, nn.Linear(2, 2))
        else:
            module.register_parameter(name, nn.Parameter(torch.zeros(2)))
    return module


class Block(nn.Module):
    """No name that says anything."""

    def forward(self, u: Tensor) -> Tensor:
        return u


class S7(Block):
    """A class of that name."""


class RGLRU(Block):
    """A class of that name."""


class Derived(S7):
    """A user's own variant."""


@pytest.mark.parametrize(
    ("module", "name", "said"),
    [
        (with_parts(Block, "A_log", "D", "x_proj", "dt_proj", "in_proj", "out_proj"), "Mamba", "step, B and C"),
        (with_parts(Block, "A_log", "D", "dt_bias", "in_proj", "out_proj"), "Mamba-2", "step, B and C"),
        (S7(), "S7", "state matrix"),
        (Derived(), "S7", "state matrix"),
        (RGLRU(), "RG-LRU", "gates"),
        (with_parts(Block, "a_param", "input_gate", "a_gate"), "RG-LRU", "gates"),
        (with_parts(Block, "recurrent_param", "input_gate_weight", "recurrent_gate_weight"), "RG-LRU", "gates"),
    ],
)
def test_models_of_selective_layers_alone_are_refused_by_name(module: nn.Module, name: str, said: str) -> None:
    model = nn.Sequential(nn.Linear(2, 2), module, with_parts(Block, "A_log", "x_proj", "dt_proj"))
    with pytest.raises(LayerError) as caught:
        find_layers(model)
    text = str(caught.value)
    assert "\n" not in text
    assert f"Layer 1 ({name})" in text
    assert said in text
    assert "no linear time-invariant system describes it; train" in text
    assert "1 more of its layers" in text


def test_the_lti_layers_beside_selective_ones_are_reduced() -> None:
    torch.manual_seed(0)
    selective = with_parts(Block, "A_log", "x_proj", "dt_proj")
    # What stands inside a selective layer is a part of it.
    selective.add_module("inner", S4D(4, 6))
    model = nn.ModuleList([S4D(4, 6), selective])
    assert [layer.name for layer in find_layers(model)] == ["0"]
    assert [(layer.name, layer.library) for layer in find_refused(model)] == [("1", "Mamba")]
    replaced = replace_layers(model, {layer.name: layer.system for layer in find_layers(model)})
    assert not isinstance(replaced[0], S4D)
    assert isinstance(replaced[1].inner, S4D)


@pytest.mark.parametrize(
    "module", [nn.GRU(2, 2), nn.LSTM(2, 2), with_parts(Block, "A_log"), with_parts(Block, "x_proj", "dt_proj")]
)
def test_other_modules_are_not_taken_for_selective_layers(module: nn.Module) -> None:
    assert find_refused(nn.Sequential(module)) == []


def test_networks_that_have_a_selective_layers_name_are_none() -> None:
    torch.manual_seed(0)
    model = S7()
    model.add_module("first", S4D(4, 6))
    assert [layer.name for layer in find_layers(model)] == ["first"]
    assert find_refused(model) == []
