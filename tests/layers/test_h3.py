"""H3: its diagonal SSM is found and replaced, its shift SSM becomes a convolution, and all of it computes the same."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from ssm2edge.layers import LayerError, blocks, exportable, find_layers, fix_lengths
from ssm2edge.original.recording import count_parameters
from tests.h3 import H3
from tests.layer_answers import answers, full_order, noise, relative

WIDTH, STATES, LENGTH = 4, 6, 37

OPTIONS: list[dict[str, Any]] = [
    {},
    {"head_dim": 2},
    {"disc": "zoh", "n_ssm": 1},
    {"disc": "zoh", "version": 2, "head_dim": 2, "n_ssm": 1},
    {"l_max": 40, "real_type": "softplus"},
    {"mode": "ema"},
    {"disc": "dss", "l_max": LENGTH},
]


def layer_of(**options: Any) -> H3:
    torch.manual_seed(0)
    return H3(WIDTH, STATES, **options).eval()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_option_is_reproduced_at_full_order(options: dict[str, Any]) -> None:
    layer = layer_of(**options)
    (found,) = find_layers(layer)
    assert (found.library, found.system.order, found.system.batch_shape[0]) == ("H3", STATES, layer.H)
    assert found.parameters == sum(p.numel() for p in layer.kernel.parameters()) + layer.H
    replaced = full_order(layer)
    assert count_parameters(nn.ModuleList(blocks(replaced).values())) <= found.parameters
    for length in [LENGTH] if options.get("disc") == "dss" else [1, 2, LENGTH]:
        u = noise(2, length, WIDTH)
        expected = answers(layer, u)
        assert relative(answers(replaced, u), expected) < 1e-5
        assert relative(answers(exportable(replaced), u), expected) < 1e-5
    # B, C and the skip of the shift are one set of taps now, the rest around the block is as it was.
    assert sum(p.numel() for name, p in replaced.named_parameters() if not name.startswith("block")) == (
        sum(p.numel() for name, p in layer.named_parameters() if "proj" in name or "output" in name) + WIDTH * STATES
    )


def test_kernels_over_the_length_get_that_of_the_samples() -> None:
    layer = layer_of(disc="dss")
    with pytest.raises(LayerError, match=r"l_max\."):
        find_layers(layer)
    fix_lengths(layer, LENGTH)
    u = noise(2, LENGTH, WIDTH)
    assert relative(answers(full_order(layer), u), answers(layer, u)) < 1e-5


@pytest.mark.parametrize("place", ["D", "ssm_k_D", "kernel.kernel.log_dt", "ssm_k_kernel.kernel.C"])
def test_weights_that_are_not_finite_are_refused_by_name(place: str) -> None:
    model = nn.Sequential(layer_of())
    with torch.no_grad():
        model.get_parameter(f"0.{place}").view(-1)[0] = math.nan
    with pytest.raises(LayerError, match=rf"Layer 0 \(H3\) cannot be read: its parameter {place.rpartition('.')[2]} "):
        find_layers(model)
