"""The published S4D layer, from stored parameters, input and output of the original repository."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ssm2edge.layers import ReducedBank, blocks, exportable, find_layers, replace_layers
from tests.layer_answers import relative
from tests.random_banks import filtered_by, response_of

DATA = Path(__file__).with_name("data") / "s4d_minimal.npz"


class Kernel(nn.Module):
    """Parameters of the published kernel; the convolution is written by its definition."""

    def __init__(self, channels: int, states: int) -> None:
        super().__init__()
        self.C = nn.Parameter(torch.zeros(channels, states // 2, 2))
        self.log_dt = nn.Parameter(torch.zeros(channels))
        self.log_A_real = nn.Parameter(torch.zeros(channels, states // 2))
        self.A_imag = nn.Parameter(torch.zeros(channels, states // 2))

    def forward(self, length: int) -> Tensor:
        dt = self.log_dt.double().exp()[:, None]
        A = torch.complex(-self.log_A_real.double().exp(), self.A_imag.double())
        C = torch.view_as_complex(self.C.double()) * ((A * dt).exp() - 1) / A
        return torch.stack([2 * (C * (A * dt * k).exp()).real.sum(-1) for k in range(length)], -1)


class PublishedS4D(nn.Module):
    """The structure of the published layer: convolution and skip, GELU, 1x1 convolution to twice the width, gate."""

    def __init__(self, d_model: int, d_state: int) -> None:
        super().__init__()
        self.D = nn.Parameter(torch.zeros(d_model))
        self.kernel = Kernel(d_model, d_state)
        self.activation = nn.GELU()
        self.dropout = nn.Identity()
        self.output_linear = nn.Sequential(nn.Conv1d(d_model, 2 * d_model, kernel_size=1), nn.GLU(dim=-2))

    def forward(self, u: Tensor) -> tuple[Tensor, None]:
        kernel = self.kernel(u.shape[-1])
        columns = [(kernel[:, : k + 1].flip(-1) * u.double()[..., : k + 1]).sum(-1) for k in range(u.shape[-1])]
        y = torch.stack(columns, -1) + self.D.double()[:, None] * u.double()
        return self.output_linear(self.dropout(self.activation(y.float()))), None


@pytest.fixture(scope="module")
def stored() -> tuple[PublishedS4D, Tensor, Tensor]:
    layer = PublishedS4D(d_model=8, d_state=32)
    with np.load(DATA) as data:
        layer.load_state_dict({k.removeprefix("param:"): torch.from_numpy(data[k]) for k in data if k.startswith("param:")})
        x, y = torch.from_numpy(data["x"]), torch.from_numpy(data["y"])
    return layer.eval(), x, y


def test_full_order_replacement_gives_the_stored_output(stored: tuple[PublishedS4D, Tensor, Tensor]) -> None:
    layer, x, y = stored
    (found,) = find_layers(layer)
    assert (found.name, found.library, found.system.order, tuple(found.system.batch_shape)) == ("", "S4D", 32, (8,))
    assert found.parameters == 8 * (16 * 2 + 16 + 16 + 1 + 1)
    replaced = replace_layers(layer, {"": found.system})
    with torch.no_grad():
        answer, state = replaced(x)
        exported, _ = exportable(replaced)(x)
    assert state is None
    assert relative(answer, y) < 1e-5
    assert relative(exported, y) < 1e-5
    (bank,) = blocks(replaced).values()
    assert isinstance(bank, ReducedBank)


def test_system_read_from_it_gives_the_stored_output(stored: tuple[PublishedS4D, Tensor, Tensor]) -> None:
    layer, x, y = stored
    (found,) = find_layers(layer)
    filtered = torch.from_numpy(filtered_by(response_of(found.system, x.shape[-1]), x.numpy())).float()
    with torch.no_grad():
        assert relative(layer.output_linear(layer.activation(filtered)), y) < 1e-5


def test_reduced_order_is_told_apart(stored: tuple[PublishedS4D, Tensor, Tensor]) -> None:
    layer, x, y = stored
    (found,) = find_layers(layer)
    system = found.system
    truncated = type(system)(system.poles[:, :8], system.B[:, :8], system.C[..., :8], system.D)
    with torch.no_grad():
        answer, _ = replace_layers(layer, {"": truncated})(x)
    assert relative(answer, y) > 1e-3
