"""Layers that no library reads are named with the way to them, and measured where they are named."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ssm2edge.layers import Examples, LayerError, find_layers, realise_layers


class MultiHeadedEMA(nn.Module):
    """A moving average of every channel, ``(batch, time, channels)``."""

    def __init__(self) -> None:
        super().__init__()
        self.decay = nn.Parameter(torch.tensor([0.3, 0.6, 0.8]))

    def forward(self, x: Tensor) -> Tensor:
        powers = self.decay ** torch.arange(x.shape[1])[:, None]
        points = 2 * x.shape[1]
        y: Tensor = torch.fft.irfft(torch.fft.rfft(x, points, 1) * torch.fft.rfft(powers, points, 0), points, 1)[:, : x.shape[1]]
        return y


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.average = MultiHeadedEMA()

    def forward(self, u: Tensor) -> Tensor:
        return torch.tanh(self.average(u))


def test_the_sentence_names_the_layer_and_the_option_that_reads_it() -> None:
    model = Model().eval()
    with pytest.raises(LayerError, match=r"Layer average \(moving average of mega-pytorch\): no library.*name it with --lti"):
        find_layers(model)
    examples = Examples.of([torch.randn(2, 64, 3)], [1])
    (layer,) = find_layers(realise_layers(model, examples, ["average"]))
    assert layer.name == "average"
    poles = sorted(layer.system.poles.flatten().abs().tolist())
    assert poles == pytest.approx([0.3, 0.6, 0.8], abs=1e-3)
