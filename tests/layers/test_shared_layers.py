"""A layer that stands in several places of a model is one layer: reduced once, named once, run in each place."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from models.digits.model import S4D, DigitClassifier
from ssm2edge.layers import exportable, find_layers, replace_layers
from ssm2edge.traced import InputAxes, trace
from ssm2edge.traced.network import Network
from ssm2edge.traced.running import run_program


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.scale = S4D(4, 6), 0.5

    def forward(self, u: Tensor) -> tuple[Tensor, None]:
        return u + self.scale * self.layer(u)[0], None


def model(of: str) -> DigitClassifier:
    torch.manual_seed(0)
    made = DigitClassifier(4, 6, 3).eval()
    if of == "a block":
        made.layers[0] = Residual()
    made.layers[2] = made.layers[0]
    return made


@pytest.mark.parametrize(("of", "name"), [("a layer", "layers.0"), ("a block", "layers.0.layer")])
def test_shared_layers_have_one_name_and_are_computed_in_each_place(of: str, name: str) -> None:
    original = model(of)
    layers = find_layers(original)
    assert [layer.name for layer in layers] == [name, "layers.1"]
    replaced = replace_layers(original, {layer.name: layer.system for layer in layers})
    traced = trace(exportable(replaced), [InputAxes("pixels", 1, torch.zeros(1, 5, 1))])
    assert list(Network(traced.program).layers.values()) == [name, "layers.1", name]
    pixels = torch.randn(2, 30, 1)
    (found,) = next(reversed(run_program(traced.program, [pixels]).values()))
    with torch.no_grad():
        torch.testing.assert_close(found, original(pixels), rtol=1e-4, atol=1e-4)
