"""Layers are found wherever they are nested, replaced without touching anything else, and refused with one clear sentence."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from models.digits.model import S4D, DigitClassifier
from ssm2edge.layers import ReducedBank, blocks, exportable, find_layers, replace_layers
from ssm2edge.layers.block import ExportedBank
from tests.layer_answers import answers, full_order, refusal, relative


class PlainS4D(S4D):
    """Returns the tensor alone."""

    def forward(self, u: Tensor) -> Tensor:  # type: ignore[override]  # the difference is the point
        return super().forward(u)[0]


class TimeFirstS4D(S4D):
    """Takes and returns (batch, time, channels), as the published layer with transposed=False."""

    transposed = False

    def forward(self, u: Tensor) -> tuple[Tensor, None]:
        return super().forward(u.transpose(-1, -2))[0].transpose(-1, -2), None


class Nested(nn.Module):
    """Layers in containers in modules; the list ends with one that appears twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleDict({"first": nn.ModuleList([S4D(4, 6), nn.Tanh()]), "second": nn.Sequential(PlainS4D(4, 8))})
        self.twice = S4D(4, 6)
        self.again = self.twice

    def forward(self, u: Tensor) -> Tensor:
        layer, tanh = self.stages["first"]
        z = self.stages["second"](tanh(layer(u)[0]))
        return self.again(self.twice(z)[0])[0]


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: S4D(4, 6), (2, 4, 90)),
        (lambda: PlainS4D(4, 8), (2, 4, 90)),
        (lambda: TimeFirstS4D(4, 8), (2, 90, 4)),
        (lambda: nn.Sequential(PlainS4D(4, 6), nn.ReLU(), PlainS4D(4, 8)), (2, 4, 90)),
        (Nested, (2, 4, 90)),
        (lambda: DigitClassifier(4, 6, 2, classes=3), (2, 90, 1)),
    ],
)
def test_full_order_replacement_is_the_model(make: Callable[[], nn.Module], shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    model = make().eval()
    replaced = full_order(model)
    assert not any(isinstance(module, S4D) for module in replaced.modules())
    for length in (1, 2, 90):
        time = 1 if shape[-1] != 90 else 2
        u = torch.randn(shape).narrow(time, 0, length)
        expected = answers(model, u)
        assert relative(answers(replaced, u), expected) < 2e-5
        assert relative(answers(exportable(replaced), u), expected) < 2e-5


def test_layers_are_named_and_measured_in_order() -> None:
    found = find_layers(Nested())
    assert [layer.name for layer in found] == ["stages.first.0", "stages.second.0", "twice"]
    assert [layer.system.order for layer in found] == [6, 8, 6]
    assert [layer.parameters for layer in found] == [4 * (4 * 3 + 2), 4 * (4 * 4 + 2), 4 * (4 * 3 + 2)]
    assert {(layer.library, layer.kind) for layer in found} == {("S4D", "SISO bank")}
    assert list(blocks(full_order(Nested()))) == ["stages.first.0", "stages.second.0", "twice"]
    assert list(blocks(full_order(S4D(4, 6)))) == [""]


def test_only_the_named_layers_are_replaced() -> None:
    model = DigitClassifier(4, 6, 3)
    systems = {layer.name: layer.system for layer in find_layers(model)}
    replaced = replace_layers(model, {"layers.1": systems["layers.1"]})
    assert [isinstance(layer, S4D) for layer in replaced.layers] == [True, False, True]
    assert list(blocks(replaced)) == ["layers.1"]


def test_everything_else_stays_bit_by_bit() -> None:
    torch.manual_seed(1)
    model = DigitClassifier(4, 6, 2)
    before = copy.deepcopy(model.state_dict())
    structure = str(model)
    replaced = full_order(model)
    assert str(model) == structure
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    kept = {name: value for name, value in before.items() if ".kernel." not in name and not name.endswith(".D")}
    after = replaced.state_dict()
    for name, value in kept.items():
        assert torch.equal(after[name], value), name
    assert all(".block." in name for name in set(after) - set(kept))
    with torch.no_grad():
        replaced.layers[0].output_linear[0].weight.zero_()
    assert torch.equal(model.state_dict()["layers.0.output_linear.0.weight"], before["layers.0.output_linear.0.weight"])


def test_replaced_model_trains_on_where_the_original_would() -> None:
    torch.manual_seed(2)
    model = DigitClassifier(4, 6, 2, classes=3, dropout=0.2).train()
    replaced = full_order(model)
    assert replaced.training
    assert all(module.training for module in replaced.modules())
    nn.functional.cross_entropy(replaced(torch.randn(5, 40, 1)), torch.tensor([0, 1, 2, 0, 1])).backward()
    for name, parameter in replaced.named_parameters():
        assert parameter.grad is not None, name
        assert (parameter.grad != 0).any(), name


def test_exported_form_holds_constants_alone() -> None:
    model = exportable(full_order(DigitClassifier(4, 6, 2)).train())
    assert not model.training
    assert not any(isinstance(module, ReducedBank) for module in model.modules())
    banks = [module for module in model.modules() if isinstance(module, ExportedBank)]
    assert len(banks) == 2
    assert all(value.dtype == torch.float32 for bank in banks for value in bank.buffers())
    assert not any(list(bank.parameters()) for bank in banks)


class Squaring(S4D):
    def forward(self, u: Tensor) -> tuple[Tensor, None]:
        return super().forward(u * u)


class Backwards(S4D):
    def forward(self, u: Tensor) -> tuple[Tensor, None]:
        return super().forward(u.flip(-1))[0].flip(-1), None


class StateFirst(S4D):
    def forward(self, u: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]  # the difference is the point
        return u, super().forward(u)[0]


class Named(S4D):
    def forward(self, u: Tensor) -> dict[str, Tensor]:  # type: ignore[override]  # as above
        return {"output": super().forward(u)[0]}


class OtherLayout(S4D):
    def forward(self, u: Tensor) -> tuple[Tensor, None]:
        return super().forward(u.transpose(-1, -2))


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Squaring, "computes something else"),
        (Backwards, "computes something else"),
        (StateFirst, "computes something else"),
        (Named, "neither a tensor nor"),
        (OtherLayout, "forward fails"),
    ],
)
def test_lookalikes_are_refused_by_name(kind: type[S4D], said: str) -> None:
    model = nn.Sequential(nn.Identity(), kind(4, 6))
    text = refusal(lambda: full_order(model))
    assert said in text
    assert "Layer 1 " in text


@pytest.mark.parametrize("parameter", ["D", "kernel.C", "kernel.log_dt", "kernel.log_A_real", "kernel.A_imag"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(parameter: str, value: float) -> None:
    model = DigitClassifier(4, 6, 2)
    with torch.no_grad():
        model.layers[1].get_parameter(parameter).view(-1)[3] = value
    text = refusal(lambda: find_layers(model))
    assert "layers.1 " in text
    assert parameter.rpartition(".")[2] in text


def test_poles_on_the_circle_are_refused_with_their_channel() -> None:
    model = DigitClassifier(4, 6, 2)
    with torch.no_grad():
        # exp(-exp(-200) dt) is one in any arithmetic, and its imaginary part is zero.
        model.layers[1].kernel.log_A_real[2, 0] = -200.0
        model.layers[1].kernel.A_imag[2, 0] = 0.0
    text = refusal(lambda: find_layers(model))
    assert "layers.1 " in text
    assert "channel 2" in text
    assert "modulus 1;" in text


@pytest.mark.parametrize("model", [nn.Linear(3, 3), nn.Sequential(nn.GRU(2, 2), nn.LayerNorm(2)), nn.Identity()])
def test_models_without_layers_are_refused(model: nn.Module) -> None:
    assert "no layer that ssm2edge knows" in refusal(lambda: find_layers(model))
