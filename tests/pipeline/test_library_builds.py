"""Models of S4 before version 4, H3, Mega's averages and Hyena, at full order: built, verified, streamed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ssm2edge
import ssm2edge.runtime
from tests.early_s4 import S4
from tests.h3 import H3
from tests.hyena import Model as Hyena
from tests.layers.test_mega import MultiHeadEMA

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("brief_latencies")]

WIDTH, LENGTH = 4, 40


class Averaged(nn.Module):
    """Mega's layout: time, batch, channels."""

    def __init__(self) -> None:
        super().__init__()
        self.move = MultiHeadEMA()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.move(x.transpose(0, 1), None, None)
        return y.transpose(0, 1)


class Around(nn.Module):
    """A layer of ``(batch, time, channels)`` or ``(batch, channels, time)`` between two others."""

    def __init__(self, layer: nn.Module, time_last: bool = False) -> None:
        super().__init__()
        self.encoder, self.layer, self.decoder = nn.Linear(2, WIDTH), layer, nn.Linear(WIDTH, 3)
        self.time_last = time_last

    def forward(self, samples: Tensor) -> Tensor:
        z = self.encoder(samples)
        y = self.layer(z.transpose(1, 2) if self.time_last else z)
        y = y[0] if isinstance(y, tuple) else y
        out: Tensor = self.decoder(z + (y.transpose(1, 2) if self.time_last else y))
        return out


MODELS: dict[str, tuple[Callable[[], nn.Module], list[str], bool]] = {
    "S4, version 2": (lambda: Around(S4(WIDTH, version=2, transposed=False)), ["layer"], True),
    "S4, version 3, gated": (lambda: Around(S4(WIDTH, gate=2, channels=2, n_ssm=1), True), ["layer"], True),
    "S4, version 3, both ways": (
        lambda: Around(S4(WIDTH, mode="diag", bidirectional=True, hyper_act="tanh"), True),
        ["layer.causal", "layer.anticausal"],
        False,
    ),
    "H3": (lambda: Around(H3(WIDTH)), ["layer"], True),
    "H3 of two heads": (lambda: Around(H3(WIDTH, head_dim=2)), ["layer", "layer@2", "layer@3", "layer@4"], True),
    "Mega": (lambda: Around(Averaged()), ["layer.move"], True),
    "Hyena": (
        lambda: Hyena(WIDTH, order=3, l_max=LENGTH),
        ["blocks.0.filter_fn.0", "blocks.0.filter_fn.1"],
        True,
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_models_are_built_verified_and_streamed(tmp_path: Path, name: str) -> None:
    make, names, streams = MODELS[name]
    torch.manual_seed(0)
    model, samples = make().eval(), torch.randn(8, LENGTH, 2)
    with torch.no_grad():
        expected = model(samples).numpy()
    artifact = ssm2edge.build(model, samples, tmp_path / "out", keep=1.0, calibrate="none")
    assert artifact.verify().passed
    (found,) = artifact.run(samples).values()
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * np.abs(expected).max())
    with ssm2edge.runtime.Model(tmp_path / "out") as graph:
        assert list(graph.layers) == names
    assert (tmp_path / "out" / "stream.onnx").exists() == streams
    if streams:
        with artifact.stream() as stream:
            parts = [stream.push(samples[:1, k : k + 1].numpy()) for k in range(LENGTH)]
        found = np.concatenate([next(iter(part.values())) for part in parts], 1)
        np.testing.assert_allclose(found, expected[:1], rtol=0, atol=2e-5 * np.abs(expected).max())
