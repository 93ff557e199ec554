"""The error of a realisation is a part of its layer's error wherever one is shown, and a poor one is said in red."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

import ssm2edge
from ssm2edge.artifact.notes import LARGEST_FIT, notes
from ssm2edge.layers import FoundLayer, Realised
from ssm2edge.stages.inspect import inspect_layer
from ssm2edge.tables.layers import show_layers
from tests.random_banks import random_bank

LENGTH = 300


class Noisy(nn.Module):
    """A filter of noise, which no system of 128 states answers like, between linear maps."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder, self.decoder = nn.Linear(1, 2), nn.Linear(2, 1)
        self.filter = nn.Conv1d(2, 2, LENGTH, groups=2, padding=LENGTH - 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.decoder(self.filter(self.encoder(x).mT)[..., :LENGTH].mT)
        return y


SAMPLES = np.random.default_rng(0).standard_normal((6, LENGTH, 1)).astype(np.float32)


def test_costs_hold_the_error_of_the_realisation() -> None:
    bank = random_bank(2, 4, seed=1)
    read, realised = (FoundLayer("x", "probed", "SISO bank", bank, 8, realised=fit) for fit in (None, Realised(64, 0.3, 0)))
    plain, whole = (inspect_layer(layer, 64, 64, "balanced") for layer in (read, realised))
    for order, cost in whole.costs.items():
        assert cost == pytest.approx(np.hypot(plain.costs[order], 0.3))
    console = Console(width=400, record=True)
    show_layers(console, [plain])
    assert "before any reduction" not in console.export_text()
    show_layers(console, [whole])
    assert "x is 30 % off before any reduction" in console.export_text()


@pytest.mark.slow
def test_inspection_counts_the_realisation_and_says_it() -> None:
    found = ssm2edge.inspect(Noisy(), SAMPLES)
    (layer,) = found.layers
    assert layer.realised is not None
    assert layer.realised.error > 10 * LARGEST_FIT
    assert all(cost >= layer.realised.error for cost in layer.costs.values())
    assert "off before any reduction" in str(found)


@pytest.mark.slow
def test_builds_count_the_realisation_and_say_it(tmp_path: Path) -> None:
    model = Noisy()
    built = ssm2edge.build(model, SAMPLES, tmp_path / "out", keep=1.0, calibrate="none")
    (layer,) = built.manifest.layers
    assert layer.realised is not None
    # The convolution of the weights is the truth.
    with torch.no_grad():
        impulse = torch.zeros(1, 2, LENGTH)
        impulse[..., 0] = 1.0
        wanted = model.filter(impulse)[0, :, :LENGTH].double()
        reduced = ssm2edge.compress(model, SAMPLES, keep=1.0, calibrate="none").filter.block(impulse)[0].double()
    expected = float((reduced - wanted).norm() / wanted.norm())
    assert layer.h2_error_relative == pytest.approx(expected, rel=0.05)
    (note,) = notes(layer)
    assert note.bad
    assert note.sentence in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    console = Console(width=400, record=True)
    built.show(console)
    assert note.sentence in " ".join(console.export_text().split())
