"""S4 before version 4, in every option: what replaces a layer at full order computes what the layer computes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ssm2edge.layers import Examples, LayerError, blocks, exportable, find_layers, find_refused, fix_lengths, fix_rates
from ssm2edge.original.recording import count_parameters
from tests.early_s4 import S4
from tests.layer_answers import answers, full_order, noise, relative
from tests.slow_cases import slow_but

CHANNELS, STATES, LENGTH = 4, 6, 37

KERNELS: list[dict[str, Any]] = [
    *({"mode": "nplr", "version": version} for version in (1, 2, 3)),
    {"mode": "nplr", "version": 1, "n_ssm": 1},
    {"mode": "nplr", "version": 2, "n_ssm": 2, "rank": 2},
    {"mode": "nplr", "version": 2, "fast_gate": True},
    *({"mode": "nplr", "real_type": name} for name in ("none", "relu", "sigmoid", "softplus")),
    {"mode": "nplr", "n_ssm": 1, "rank": 3},
    {"mode": "nplr", "bandlimit": 0.05},
    {"mode": "nplr", "lr": 0.0},
    {"mode": "diag"},
    {"mode": "diag", "disc": "zoh", "n_ssm": 2},
    {"mode": "diag", "disc": "dss", "l_max": LENGTH},
    *({"mode": "diag", "real_type": name} for name in ("none", "relu", "sigmoid", "softplus")),
    {"mode": "diag", "bandlimit": 0.05, "disc": "zoh"},
    {"mode": "diag", "force_real": True},
    {"mode": "diag", "stored_real": True, "n_ssm": 2},
    {"mode": "diag", "stored_real": True, "disc": "zoh", "d_state": 4},
    {"mode": "diag", "version": 2},
    {"mode": "diag", "version": 2, "disc": None, "n_ssm": 1},
    {"mode": "diag", "version": 2, "disc": "dss", "l_max": LENGTH},
    {"mode": "ema"},
    {"mode": "ema", "dt_tie": True},
]
LAYERS: list[dict[str, Any]] = [
    {"transposed": False, "activation": "tanh"},
    {"channels": 2, "postact": None, "mode": "diag"},
    {"channels": 2, "hyper_act": "tanh", "transposed": False},
    {"bidirectional": True},
    {"bidirectional": True, "channels": 2, "n_ssm": 1, "hyper_act": "tanh"},
    {"bidirectional": True, "mode": "ema"},
    {"bidirectional": True, "mode": "ema", "efficient_bidirectional": True},
    {"gate": 2, "bottleneck": 2},
    {"gate": 1, "transposed": False, "mode": "diag", "version": 2},
    {"shift": True},
    {"linear": True, "state": False},
    {"norm": True, "transposed": False},
    {"l_max": 50},
]


def layer_of(**options: Any) -> S4:
    torch.manual_seed(0)
    return S4(CHANNELS, **{"d_state": STATES, **options}).eval()


def input_of(layer: S4, length: int = LENGTH) -> Tensor:
    return noise(2, CHANNELS, length) if layer.transposed else noise(2, length, CHANNELS)


def stored_in(layer: S4) -> int:
    kernel = layer.kernel.kernel
    tensors = [*kernel.parameters(), *kernel.buffers(), layer.D]
    return sum(x.numel() for x in tensors if x is not getattr(kernel, "L", None))


FAST = [*KERNELS[:5:2], KERNELS[13], KERNELS[16], KERNELS[-1], *LAYERS[2:8:2], LAYERS[7]]


@pytest.mark.parametrize("options", slow_but(FAST, [*KERNELS, *LAYERS]), ids=str)
def test_every_option_is_reproduced_at_full_order(options: dict[str, Any]) -> None:
    layer = layer_of(**options)
    found = find_layers(layer)
    assert len(found) == 1 + layer.bidirectional
    real = layer.kernel.mode == "ema"
    halved = bool({"force_real", "stored_real"} & set(options))
    assert {part.system.order for part in found} == {layer.N // 2 if halved else STATES}
    assert all(bool((part.system.poles.imag == 0).all()) == (real or halved) for part in found)
    assert sum(part.parameters for part in found) == stored_in(layer)
    replaced = full_order(layer)
    assert count_parameters(nn.ModuleList(blocks(replaced).values())) <= stored_in(layer)
    for length in [LENGTH] if options.get("disc") == "dss" else [1, 2, LENGTH]:
        u = input_of(layer, length)
        expected = answers(layer, u)
        assert relative(answers(replaced, u), expected) < 1e-5
        assert relative(answers(exportable(replaced), u), expected) < 1e-5


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("n_ssm", [None, 1])
def test_output_map_stored_for_a_length_is_undone_at_it(version: int, n_ssm: int | None) -> None:
    layer = layer_of(version=version, n_ssm=n_ssm)
    u = input_of(layer)
    before = answers(layer, u)
    layer.kernel.kernel.set_length(50)
    assert relative(answers(layer, u), before) < 1e-5
    assert relative(answers(full_order(layer), u), before) < 1e-5


def test_kernels_that_compute_their_state_matrix_themselves_are_believed() -> None:
    layer = layer_of(mode="diag")
    kernel = layer.kernel.kernel
    kernel.real_type = "cubed"
    with pytest.raises(LayerError, match="real_type 'cubed'"):
        find_layers(layer)
    kind = type(kernel)
    cubed = type("Cubed", (kind,), {
        "_A": lambda self: torch.complex(-self.inv_A_real.abs() ** 3 - 0.1, self.A_imag),
        "diagonal": lambda self: torch.complex(-self.inv_A_real.double().abs() ** 3 - 0.1, self.A_imag.double()),
    })  # fmt: skip
    kernel.__class__ = cubed
    u = input_of(layer)
    assert relative(answers(full_order(layer), u), answers(layer, u)) < 1e-5


def test_padded_ends_are_masked_as_the_layer_does() -> None:
    for transposed in (True, False):
        layer = layer_of(transposed=transposed)
        replaced, u = full_order(layer), input_of(layer)
        for lengths in (torch.tensor([LENGTH, 20]), LENGTH):
            assert relative(answers(replaced, u, lengths=lengths), answers(layer, u, lengths=lengths)) < 1e-5


def test_normalised_kernels_get_the_length_of_the_samples() -> None:
    layer = layer_of(mode="diag", disc="dss")
    with pytest.raises(LayerError, match=r"Layer \(the model\) \(S4 before version 4\) cannot be read: .*l_max\."):
        find_layers(layer)
    u = input_of(layer)
    expected = answers(layer, u)
    fix_lengths(layer, LENGTH)
    (found,) = find_layers(layer)
    assert found.lengths == range(LENGTH, LENGTH + 1)
    assert relative(answers(full_order(layer), u), expected) < 1e-5


@pytest.mark.parametrize("options", [{"version": 1}, {"version": 3, "n_ssm": 1}, {"mode": "diag", "bandlimit": 0.05}], ids=str)
def test_a_layer_that_is_always_called_at_one_rate_is_read_at_it(options: dict[str, Any]) -> None:
    class Resampling(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer_of(**options)

        def forward(self, u: Tensor) -> tuple[Tensor, None]:
            return self.layer(u, rate=2.0)

    model = Resampling().eval()
    if options.get("mode") != "diag":
        model.layer.kernel.kernel.set_length(50)
    u = input_of(model.layer)
    fix_rates(model, Examples.of([u], [2]))
    assert relative(answers(full_order(model), u), answers(model, u)) < 1e-5


def test_what_cannot_be_read_is_refused_by_name_with_the_mend() -> None:
    def sentence(layer: nn.Module) -> str:
        with pytest.raises(LayerError) as caught:
            full_order(nn.Sequential(nn.Identity(), layer))
        assert str(caught.value).startswith("Layer 1 (S4 before version 4) ")
        return str(caught.value)

    for name in ("log_dt", "B", "C", "P", "inv_w_real", "w_imag"):
        layer = layer_of()
        with torch.no_grad():
            getattr(layer.kernel.kernel, name).view(-1)[0] = math.nan
        assert f"parameter {name} " in sentence(layer)
    layer = layer_of(mode="diag")
    layer.kernel.kernel.disc = "foh"
    assert "discretisation 'foh'" in sentence(layer)
    layer = layer_of()
    layer.kernel.kernel.quadrature = "simpson"
    assert "quadrature 'simpson'" in sentence(layer)
    layer = layer_of()
    layer.kernel.kernel.C = nn.Parameter(torch.zeros(1, 3, 3, 2))
    assert "not the shapes" in sentence(layer)


def test_liquid_layers_are_left_as_they_are() -> None:
    layer = layer_of()
    for name, value in (("liquid_kernel", "polyb"), ("liquid_kernel", "kb"), ("liquid", 1)):
        setattr(layer, name, value)
        (refused,) = find_refused(nn.Sequential(layer))
        assert refused.library == "liquid S4"
        assert "products of its inputs" in refused.reason
        delattr(layer, name)
    layer.liquid_kernel, layer.liquid_degree = None, 2
    assert not find_refused(layer)
    assert len(find_layers(layer)) == 1
