"""S4 and S4D of state-spaces/s4, in every option: what replaces a layer at full order computes what the layer computes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ssm2edge.layers import Examples, LayerError, blocks, exportable, find_layers, fix_lengths, fix_rates, replace_layers
from ssm2edge.systems.response import impulse_response
from tests.layer_answers import answers, full_order, relative
from tests.published_s4 import FFTConv, S4Block

DATA = Path(__file__).with_name("data")
LENGTH = 37


def shape_of(layer: nn.Module, length: int = LENGTH) -> tuple[int, ...]:
    return (2, 4, length) if layer.transposed else (2, length, 4)


@pytest.mark.parametrize("name", ["s4_diag_zoh", "s4_dplr", "s4_dplr_bidirectional"])
def test_stored_output_of_the_original_repository_is_reproduced(name: str) -> None:
    arguments = json.loads((DATA / f"{name}.json").read_text())["args"]
    layer = S4Block(
        arguments["d_model"],
        d_state=arguments["d_state"],
        rank=1 if arguments["mode"] == "dplr" else 0,
        bidirectional=arguments.get("bidirectional", False),
    )
    with np.load(DATA / f"{name}.npz") as data:
        layer.load_state_dict({k.removeprefix("param:"): torch.from_numpy(data[k]) for k in data if k.startswith("param:")})
        x, y = torch.from_numpy(data["x"]), torch.from_numpy(data["y"])
    found = find_layers(layer.eval())
    parts = ["layer.causal", "layer.anticausal"] if arguments.get("bidirectional") else ["layer"]
    assert [(part.name, part.library, part.system.order) for part in found] == [(n, "S4", arguments["d_state"]) for n in parts]
    assert sum(part.parameters for part in found) == sum(p.numel() for p in layer.layer.parameters())
    replaced = replace_layers(layer, {part.name: part.system for part in found})
    assert relative(answers(replaced, x), y) < 1e-5
    assert relative(answers(exportable(replaced), x), y) < 1e-5


KERNELS: list[dict[str, Any]] = [
    {},
    {"disc": "bilinear"},
    {"disc": "dss", "l_max": LENGTH},
    {"rank": 1},
    {"rank": 2},
    {"rank": 3, "sets": 2},
    {"rank": 1, "dt_tie": False},
    {"is_real": True},
    {"is_real": True, "disc": "bilinear", "d_state": 5},
    {"is_real": True, "disc": "dss", "l_max": LENGTH},
    {"sets": 1},
    {"sets": 2, "disc": "bilinear"},
    {"sets": 1, "rank": 1},
    {"dt_tie": False},
    {"dt_fast": True},
    {"dt_transform": "softplus", "real_transform": "none", "imag_transform": "softplus"},
    {"dt_transform": "sigmoid", "real_transform": "sigmoid", "imag_transform": "exp"},
    {"dt_transform": "relu", "real_transform": "relu", "imag_transform": "relu"},
    {"dt_transform": "none", "real_transform": "softplus", "imag_transform": "sigmoid"},
    {"bandlimit": 0.05},
    {"frozen": ("inv_dt", "A_real", "A_imag", "B")},
    {"l_max": 50},
]
LAYERS: list[dict[str, Any]] = [
    {"activation": "tanh", "transposed": False},
    {"activation": "glu"},
    {"activation": "glu", "transposed": False, "channels": 2},
    {"channels": 3},
    {"channels": 3, "swap_channels": True, "activation": "id"},
    {"bidirectional": True},
    {"bidirectional": True, "rank": 1},
    {"bidirectional": True, "channels": 2, "activation": "glu", "swap_channels": True, "l_max": 60},
    {"bidirectional": True, "channels": 2, "rank": 1, "sets": 2, "transposed": False},
]


@pytest.mark.parametrize("options", [*KERNELS, *LAYERS], ids=str)
def test_every_option_is_reproduced_at_full_order(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    layer = FFTConv(4, **{"d_state": 6, **options}).eval()
    found = find_layers(layer)
    assert len(found) == 1 + layer.bidirectional
    assert all(part.system.batch_shape == (layer.D.numel(),) for part in found)
    stored = sum(x.numel() for name, x in layer.state_dict().items() if name != "kernel.l_kernel")
    assert sum(part.parameters for part in found) == stored
    assert sum(part.frozen for part in found) == stored - sum(p.numel() for p in layer.parameters())
    replaced = full_order(layer)
    lengths = [LENGTH] if options.get("disc") == "dss" else [1, 2, LENGTH]
    for length in lengths:
        u = torch.randn(shape_of(layer, length))
        expected = answers(layer, u)
        assert relative(answers(replaced, u), expected) < 1e-5
        assert relative(answers(exportable(replaced), u), expected) < 1e-5


@pytest.mark.parametrize("length", [5, LENGTH, 200])
def test_output_map_stored_for_a_length_is_undone_at_it(length: int) -> None:
    torch.manual_seed(0)
    layer = FFTConv(4, 6, rank=1).eval()
    (before,) = find_layers(layer)
    layer.kernel.truncate(length)
    (after,) = find_layers(layer)
    expected = impulse_response(before.system, 60)
    assert relative(impulse_response(after.system, 60), expected) < 1e-5
    u = torch.randn(shape_of(layer))
    assert relative(answers(full_order(layer), u), answers(layer, u)) < 1e-5


BLOCKS: list[dict[str, Any]] = [
    {"gate": 2, "channels": 2},
    {"bottleneck": 2, "final_act": "tanh", "transposed": False},
    {"gate": 1, "bottleneck": 2, "rank": 1, "bidirectional": True},
    {"final_act": None, "sets": 1},
]


@pytest.mark.parametrize("options", BLOCKS, ids=str)
def test_gate_bottleneck_and_mixing_stay_and_padded_ends_are_masked(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    block = S4Block(4, d_state=6, **options).eval()
    replaced = full_order(block)
    assert all(name.startswith("layer") for name in blocks(replaced))
    u = torch.randn(shape_of(block))
    kept = torch.tensor([LENGTH, 20])
    assert relative(answers(replaced, u), answers(block, u)) < 1e-5
    assert relative(answers(replaced, u, lengths=kept), answers(block, u, lengths=kept)) < 1e-5
    before = {k: v for k, v in block.state_dict().items() if ".kernel." not in k and not k.endswith(".D")}
    assert all(torch.equal(replaced.state_dict()[name], value) for name, value in before.items())


def refusal(layer: nn.Module) -> str:
    with pytest.raises(LayerError) as caught:
        full_order(nn.Sequential(nn.Identity(), layer))
    text = str(caught.value)
    assert text.startswith("Layer 1 (S4) ")
    assert "\n" not in text
    assert text.endswith(".")
    return text


def test_what_cannot_be_read_is_refused_by_name_with_the_mend() -> None:
    assert "l_max" in refusal(FFTConv(4, 6, disc="dss"))
    layer = FFTConv(4, 6)
    layer.kernel.disc = "foh"
    assert "discretisation 'foh'" in refusal(layer)
    layer.kernel.disc, layer.kernel.dt_transform = "zoh", "square"
    assert "dt_transform 'square'" in refusal(layer)
    for name in ("inv_dt", "A_real", "A_imag", "B", "C", "P"):
        layer = FFTConv(4, 6, rank=1)
        with torch.no_grad():
            getattr(layer.kernel, name).view(-1)[0] = float("nan")
        assert f"parameter {name} " in refusal(layer)
    layer = FFTConv(4, 6)
    layer.D.data[0, 0] = float("inf")
    assert "parameter D " in refusal(layer)
    layer = FFTConv(4, 6)
    layer.kernel.B = nn.Parameter(torch.zeros(1, 3, 3, 2))
    assert "not the shapes" in refusal(layer)
    layer = FFTConv(4, 6, channels=2)
    layer.D = nn.Parameter(torch.zeros(1, 4))
    assert "2 heads of 4 channels" in refusal(layer)
    with pytest.raises(LayerError, match=r"rate=0\.5.*default, 1\.0"):
        full_order(FFTConv(4, 6))(torch.zeros(1, 4, 9), rate=0.5)


class Resampling(nn.Module):
    """Calls its layer at a rate, by name or by place."""

    def __init__(self, layer: nn.Module, *rates: float, by_name: bool = True) -> None:
        super().__init__()
        self.layer, self.rates, self.by_name = layer, rates, by_name

    def forward(self, u: Tensor) -> Tensor:
        y = [self.layer(u, rate=rate)[0] if self.by_name else self.layer(u, None, rate)[0] for rate in self.rates]
        return torch.stack(y).sum(0)


RESAMPLED: list[dict[str, Any]] = [
    {"disc": "bilinear", "bandlimit": 0.05},
    {"rank": 1},
    {"rank": 1, "sets": 1, "bidirectional": True},
    {"l_max": 50},
    {"disc": "dss"},
]


@pytest.mark.parametrize("rate", [0.5, 2])
@pytest.mark.parametrize("options", RESAMPLED, ids=str)
def test_a_layer_that_is_always_called_at_one_rate_is_read_at_it(options: dict[str, Any], rate: float) -> None:
    torch.manual_seed(0)
    layer = FFTConv(4, **{"d_state": 6, **options}).eval()
    if "rank" in options:
        layer.kernel.truncate(80)
    model = Resampling(layer, rate, by_name=rate == 2).eval()
    u = torch.randn(2, 4, 20)
    expected = answers(model, u)
    fix_rates(model, Examples.of([u], [2]))
    fix_lengths(model, 20)
    if "l_max" in options:
        assert find_layers(model)[0].lengths == range(1, round(50 / rate) + 1)
    replaced = full_order(model)
    assert relative(answers(replaced, u), expected) < 1e-5
    assert relative(answers(exportable(replaced), u), expected) < 1e-5
    with pytest.raises(LayerError, match=rf"rate=1\.0.*that of the samples, {rate:.1f}"):
        replaced.layer(u)


def test_a_layer_that_is_called_at_several_rates_is_refused_by_name() -> None:
    model = Resampling(FFTConv(4, 6), 1.0, 2.0).eval()
    with pytest.raises(LayerError, match=r"Layer layer is called at several rates \(1, 2\).*layer of its own"):
        fix_rates(model, Examples.of([torch.randn(2, 4, 20)], [2]))


class Late(FFTConv):
    """Answers a sample late."""

    def forward(self, x: Tensor, **extras: Any) -> tuple[Tensor, Tensor | None]:
        return super().forward(x.roll(1, -1), **extras)


def test_lookalikes_are_refused() -> None:
    assert "computes something else" in refusal(Late(4, 6))


def hippo(layer: FFTConv) -> None:
    """Initialise a rank-one kernel by HiPPO-LegS, as the published layer does: a matrix without usable eigenvectors."""
    n = 2 * layer.kernel.A_real.shape[-1]
    q = torch.arange(n, dtype=torch.float64)
    root = (2 * q + 1).sqrt()
    A = -torch.tril(root[:, None] * root, -1) - torch.diag(q + 1)
    P = (q + 0.5).sqrt()
    frequencies, V = torch.linalg.eigh(-1j * (A + P[:, None] * P + 0.5 * torch.eye(n)))
    V, frequencies = V[:, : n // 2], frequencies[: n // 2]
    rows = layer.kernel.A_real.shape[0]
    with torch.no_grad():
        layer.kernel.A_real.fill_(np.log(0.5))
        layer.kernel.A_imag.copy_(-frequencies.expand(rows, -1))
        for name, column in (("B", root), ("P", P)):
            value = torch.view_as_real(V.mH @ column.to(V))
            getattr(layer.kernel, name).copy_(value.expand(1, rows, -1, 2))


@pytest.mark.parametrize("states", [8, 16, 64])
def test_hippo_kernels_without_usable_eigenvectors_are_reproduced(states: int) -> None:
    torch.manual_seed(0)
    layer = FFTConv(4, states, rank=1).eval()
    hippo(layer)
    u = torch.randn(shape_of(layer, 300))
    assert relative(answers(full_order(layer), u), answers(layer, u)) < 1e-5
