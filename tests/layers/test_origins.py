"""Blocks say their order and the reduction they came from, wherever the module goes."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import nn

from models.digits.model import DigitClassifier
from ssm2edge.layers import LayerError, Origin, blocks, describe_blocks, find_layers, replace_layers
from ssm2edge.reduction.layerwise import reduce_layers
from ssm2edge.stages.describe import block_origins, layer_records
from tests.random_banks import response_of

HORIZON = 50


def saved_and_loaded(model: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    assert isinstance(loaded, nn.Module)
    return loaded


JOURNEYS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "copy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "torch.save": saved_and_loaded,
    "double": lambda model: model.double(),
    "to": lambda model: model.to("cpu", torch.bfloat16),
    "train": lambda model: model.train(),
}


def reduced() -> tuple[nn.Module, nn.Module, dict[str, Origin]]:
    """A model, the same with blocks that say where they came from, and what they say."""
    torch.manual_seed(0)
    model = DigitClassifier(4, 6, 2, classes=3).eval()
    layers = {layer.name: layer for layer in find_layers(model)}
    names = list(layers)
    reductions = reduce_layers({name: x.system for name, x in layers.items()}, {names[0]: 2, names[1]: 6}, "balanced", HORIZON)
    replaced = replace_layers(model, {name: x.system for name, x in reductions.items()})
    records = layer_records(layers, {name: block.system() for name, block in blocks(replaced).items()}, reductions)
    origins = block_origins(records, reductions)
    describe_blocks(replaced, origins)
    return model, replaced, origins


def test_an_origin_is_that_of_the_reduction() -> None:
    model, replaced, origins = reduced()
    original = {layer.name: layer.system for layer in find_layers(model)}
    for name, block in blocks(replaced).items():
        before, after = response_of(original[name], HORIZON + 1), response_of(block.system(), HORIZON + 1)
        error = ((after - before) ** 2).sum() ** 0.5 / (before**2).sum() ** 0.5
        assert block.origin == origins[name]
        assert (block.origin.order_before, block.origin.method) == (6, "balanced")
        assert block.origin.h2_error == pytest.approx(error, rel=1e-6, abs=1e-6)
    assert [origin.outcome for origin in origins.values()] == ["2 converged, 2 repaired", "identity"]


def test_modules_print_it() -> None:
    _, replaced, origins = reduced()
    first = next(iter(origins.values()))
    assert f"(block): ReducedBank(order=2 of 6, relative h2 error={first.h2_error:.1e}, {first.outcome})" in repr(replaced)


def test_a_block_of_unknown_origin_says_its_order() -> None:
    model, _, _ = reduced()
    block = next(iter(blocks(replace_layers(model, {x.name: x.system for x in find_layers(model)})).values()))
    assert block.origin is None
    assert repr(block) == "ReducedBank(order=6)"


@pytest.mark.parametrize("journey", JOURNEYS)
def test_origins_travel_with_the_module_and_not_with_its_state(journey: str) -> None:
    _, replaced, origins = reduced()
    arrived = JOURNEYS[journey](replaced)
    assert {name: block.origin for name, block in blocks(arrived).items()} == origins
    assert not [key for key in arrived.state_dict() if "origin" in key]


def test_a_layer_without_a_block_has_no_origin() -> None:
    _, replaced, origins = reduced()
    with pytest.raises(LayerError, match=r"no reduced block for layer layers\.9\.$"):
        describe_blocks(replaced, {"layers.9": next(iter(origins.values()))})
