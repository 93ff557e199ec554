"""Hyena's filters, which the operator reads and gives back with every use, are found, realised and replaced use by use."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import ssm2edge
from ssm2edge.layers import LayerError, exportable, find_layers, realise_layers, replace_layers
from tests.hyena import HyenaFilter, Model
from tests.layer_answers import noise, relative
from tests.layers.filters import at_full_order, examples
from tests.slow_cases import slow_but

LENGTH = 64

OPTIONS: list[dict[str, Any]] = [
    {},
    {"order": 3},
    {"order": 3, "channels_first": True, "heads": True},
    {"order": 4, "depth": 2, "in_tuple": True},
    {"order": 3, "shared": True},
    {"use_bias": False},
    {"l_max": 100},
]


def model_of(**options: Any) -> Model:
    torch.manual_seed(0)
    return Model(**{"l_max": LENGTH, **options}).eval()


def output(model: torch.nn.Module, u: Tensor) -> Tensor:
    with torch.no_grad():
        return model(u)


@pytest.mark.parametrize("options", slow_but(OPTIONS[1:3], OPTIONS), ids=str)
def test_every_use_of_a_filter_is_a_layer_and_computes_the_same(options: dict[str, Any]) -> None:
    model = model_of(**options)
    known = realise_layers(model, examples(LENGTH))
    layers = find_layers(known)
    uses, depth = options.get("order", 2) - 1, options.get("depth", 1)
    assert [layer.name for layer in layers] == [f"blocks.{i}.filter_fn.{o}" for i in range(depth) for o in range(uses)]
    assert {layer.library for layer in layers} == {"long convolution"}
    assert all(layer.realised is not None and layer.realised.error < 5e-6 for layer in layers)
    filter = model.blocks[0].filter_fn
    stored = sum(x.numel() for x in (*filter.parameters(), *filter.buffers()))
    assert sum(layer.parameters for layer in layers) == depth * stored
    _, reduced = at_full_order(model, inputs=examples(LENGTH))
    for length in (LENGTH, 40, 1):
        u = noise(3, length, 2)
        expected = output(model, u)
        assert torch.equal(output(known, u), expected)
        assert relative(output(reduced, u), expected) < 1e-5
        assert relative(output(exportable(reduced), u), expected) < 1e-5
    # The network that computed the taps is gone.
    assert not any("implicit_filter" in name for name, _ in reduced.named_parameters())


def test_a_use_that_stays_keeps_the_filter() -> None:
    model = model_of(order=3)
    known = realise_layers(model, examples(LENGTH))
    first, _ = find_layers(known)
    half = replace_layers(known, {first.name: first.system})
    u = noise(2, LENGTH, 2)
    assert relative(output(half, u), output(model, u)) < 1e-5


def test_a_filter_that_computes_its_taps_itself_is_found_as_well() -> None:
    class Plain(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.filter_fn = torch.nn.Linear(2, 4), HyenaFilter(4, seq_len=LENGTH)

        def forward(self, samples: Tensor) -> Tensor:
            z = self.encoder(samples).transpose(1, 2)
            y: Tensor = torch.tanh(self.filter_fn(z, z.shape[-1]))
            return y

    torch.manual_seed(0)
    model = Plain().eval()
    known, reduced = at_full_order(model, inputs=examples(LENGTH))
    assert [layer.name for layer in find_layers(known)] == ["filter_fn.0"]
    u = noise(2, LENGTH, 2)
    assert relative(output(reduced, u), output(model, u)) < 1e-5


def test_a_compressed_copy_has_the_uses_in_the_place_of_the_filter_and_takes_any_length() -> None:
    model = model_of(order=3)
    samples = noise(4, LENGTH, 2)
    small = ssm2edge.compress(model, samples, keep=1.0, calibrate="none")
    assert relative(output(small, samples), output(model, samples)) < 1e-5
    assert not any("implicit_filter" in name for name, _ in small.named_parameters())
    assert any("implicit_filter" in name for name, _ in model.named_parameters())
    assert output(small, noise(1, 2 * LENGTH, 2)).shape == (1, 2 * LENGTH, 3)


def test_a_filter_may_be_named() -> None:
    model = model_of()
    known = realise_layers(model, examples(LENGTH), lti=["blocks.*.filter_fn"])
    assert [layer.name for layer in find_layers(known)] == ["blocks.0.filter_fn.0"]


class InBlocks(HyenaFilter):
    """Filters the two halves of a sequence one by one."""

    def forward(self, x: Tensor, L: int, k: Any = None, bias: Tensor | None = None, *_: Any, **__: Any) -> Tensor:
        return torch.cat([super(InBlocks, self).forward(part, L // 2, k[:, : L // 2], bias) for part in x.chunk(2, -1)], -1)


def test_blocks_of_time_are_refused_by_name() -> None:
    model = model_of()
    model.blocks[0].filter_fn.__class__ = InBlocks
    with pytest.raises(LayerError, match=r"blocks\.0\.filter_fn is not time-invariant"):
        realise_layers(model, examples(LENGTH))
