"""Every option of state-spaces/s4, in both directions and with equal poles in two layers, at full order: built and verified."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import ssm2edge
from ssm2edge.runtime import Model
from tests.published_s4 import Classifier

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("brief_latencies")]

LENGTH = 24

KERNELS: list[dict[str, Any]] = [
    {},
    {"sets": 1},
    {"sets": 2},
    {"dt_tie": False},
    {"dt_tie": False, "sets": 1, "width": 8, "d_state": 16},
    {"dt_fast": True},
    {"dt_transform": "softplus", "real_transform": "none", "imag_transform": "softplus"},
    {"dt_transform": "sigmoid", "real_transform": "sigmoid", "imag_transform": "exp"},
    {"dt_transform": "relu", "real_transform": "relu", "imag_transform": "relu"},
    {"dt_transform": "none", "real_transform": "softplus", "imag_transform": "sigmoid"},
    {"bandlimit": 0.05},
    {"frozen": ("inv_dt", "A_real", "A_imag", "B")},
    {"l_max": 50},
    {"d_state": 2},
    {"rate": 2.0},
]
LAYERS: list[dict[str, Any]] = [
    {"activation": "glu"},
    {"activation": "tanh", "dropout": 0.1},
    {"channels": 2},
    {"channels": 3, "swap_channels": True, "activation": "id"},
    {"gate": 2, "channels": 2},
    {"bottleneck": 2, "final_act": "tanh"},
    {"gate": 1, "bottleneck": 2, "final_act": "tanh"},
]
DIAGONAL: list[dict[str, Any]] = [
    {"disc": "bilinear"},
    {"disc": "dss", "l_max": LENGTH},
    {"is_real": True},
    {"is_real": True, "disc": "bilinear", "d_state": 5},
]
LOW_RANK: list[dict[str, Any]] = [
    {"rank": 2},
    {"rank": 3, "sets": 2},
    {"truncated": 50},
    {"truncated": 50, "sets": 1, "rank": 2},
]


def model_of(options: dict[str, Any], rank: int) -> nn.Module:
    """Two blocks in both directions whose kernels have the same poles."""
    torch.manual_seed(0)
    chosen = {"width": 4, "d_state": 6, "rank": rank, **options}
    truncated = chosen.pop("truncated", 0)
    model = Classifier(depth=2, classes=3, bidirectional=True, **chosen).eval()
    first, second = (block.layer.kernel for block in model.blocks)
    with torch.no_grad():
        for name, value in second.state_dict().items():
            if name in ("inv_dt", "A_real", "A_imag", "P"):
                value.copy_(first.state_dict()[name])
    if truncated:
        first.truncate(truncated)
        second.truncate(truncated)
    return model


CASES = [(rank, options) for rank, own in ((0, DIAGONAL), (1, LOW_RANK)) for options in (*KERNELS, *LAYERS, *own)]


@pytest.mark.parametrize(("rank", "options"), CASES, ids=str)
def test_both_directions_with_equal_poles_are_built_and_verified(tmp_path: Path, rank: int, options: dict[str, Any]) -> None:
    model = model_of(options, rank)
    u = torch.randn(16, LENGTH, 1)
    with torch.no_grad():
        expected = model(u).numpy()
    artifact = ssm2edge.build(model, u, tmp_path / "out", keep=1.0, calibrate="spectrum" if "dt_tie" in options else "none")
    assert artifact.verify().passed
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    names = [f"blocks.{block}.layer.{direction}" for block in (0, 1) for direction in ("causal", "anticausal")]
    assert [layer["name"] for layer in manifest["layers"]] == names
    assert manifest["parameters"]["ssm_after"] <= manifest["parameters"]["ssm_before"]
    with Model(tmp_path / "out") as graph:
        assert list(graph.layers) == names
        (found,) = graph.run(u.numpy()).values()
    # An order that is lowered so that the layer does not grow is not the whole layer.
    whole = all(layer["order_after"] == layer["order_before"] for layer in manifest["layers"])
    assert np.abs(found - expected).max() < (1e-4 if whole else 0.05) * np.abs(expected).max()
    assert whole or "dt_tie" in options


def test_there_are_as_many_options_of_each_kernel_as_are_claimed() -> None:
    assert len(CASES) == 2 * 26
