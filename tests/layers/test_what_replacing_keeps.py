"""A replaced layer is called as the original was, answers in its form and precision, keeps its hooks; layers may have parts."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models.digits.model import S4D, DigitClassifier
from ssm2edge.layers import LIBRARIES, LayerError, LayerLibrary, blocks, exportable, find_layers, find_refused, replace_layers
from ssm2edge.layers.contract import DIRECTIONS, ONLY
from ssm2edge.layers.replacement import Replacement
from ssm2edge.layers.s4d import S4DLibrary
from ssm2edge.systems.system import System
from tests.layer_answers import answers, full_order, relative


class Bidirectional(nn.Module):
    """Two filters, one of them backwards, that share their skip."""

    def __init__(self) -> None:
        super().__init__()
        self.forwards, self.reverse = S4D(3, 4), S4D(3, 6)
        self.reverse.D = self.forwards.D
        for layer in (self.forwards, self.reverse):
            layer.activation, layer.output_linear = nn.Identity(), nn.Identity()

    def forward(self, u: Tensor) -> Tensor:
        return self.forwards(u)[0] + self.reverse(u.flip(-1))[0].flip(-1)


class TwoDirections(Replacement):
    def compute(self, u: Tensor) -> Tensor:
        causal, anticausal = (self.part(name) for name in DIRECTIONS)
        return causal(u) + anticausal.backwards(u)


class BidirectionalLibrary:
    """Reads each direction as the published library does."""

    name = "two directions"
    _single = S4DLibrary()

    def _parts(self, module: nn.Module) -> Mapping[str, nn.Module]:
        return dict(zip(DIRECTIONS, (module.get_submodule("forwards"), module.get_submodule("reverse")), strict=True))

    def matches(self, module: nn.Module) -> bool:
        return isinstance(module, Bidirectional)

    def kind(self, module: nn.Module) -> str:
        return "SISO bank"

    def read(self, module: nn.Module) -> Mapping[str, System]:
        return {name: self._single.read(part)[ONLY] for name, part in self._parts(module).items()}

    def input_shape(self, module: nn.Module, batch: int, length: int) -> tuple[int, ...]:
        return (batch, 3, length)

    def parameters(self, module: nn.Module) -> Mapping[str, Sequence[Tensor]]:
        return {name: self._single.parameters(part)[ONLY] for name, part in self._parts(module).items()}

    def rebuild(self, module: nn.Module, blocks: Mapping[str, nn.Module]) -> nn.Module:
        return TwoDirections(module, blocks, (1, 3, 2))


WITH_PARTS: tuple[LayerLibrary, ...] = (BidirectionalLibrary(), *LIBRARIES)


@pytest.mark.parametrize("inside", [False, True])
def test_every_part_is_found_counted_once_and_replaced(inside: bool) -> None:
    torch.manual_seed(0)
    layer = Bidirectional().eval()
    model, path = (nn.Sequential(nn.Identity(), layer), "1.") if inside else (layer, "")
    found = find_layers(model, WITH_PARTS)
    assert [part.name for part in found] == [f"{path}causal", f"{path}anticausal"]
    assert [part.system.order for part in found] == [4, 6]
    assert [part.parameters for part in found] == [3 * (4 * 2 + 2), 3 * (4 * 3 + 1)]
    assert sum(part.parameters for part in found) == sum(p.numel() for p in layer.parameters())
    replaced = replace_layers(model, {part.name: part.system for part in found}, WITH_PARTS)
    assert list(blocks(replaced)) == [part.name for part in found]
    u = torch.randn(2, 3, 41)
    assert relative(answers(replaced, u), answers(model, u)) < 1e-5
    assert relative(answers(exportable(replaced), u), answers(model, u)) < 1e-5


def test_parts_that_are_not_named_keep_their_own_system() -> None:
    torch.manual_seed(0)
    layer = Bidirectional().eval()
    causal, anticausal = find_layers(layer, WITH_PARTS)
    u = torch.randn(2, 3, 41)
    silent = causal.system.with_output(0 * causal.system.C, 0 * causal.system.D)
    replaced = replace_layers(layer, {causal.name: silent}, WITH_PARTS)
    expected = layer.reverse(u.flip(-1))[0].flip(-1)
    assert relative(answers(replaced, u), expected.detach()) < 1e-5
    with pytest.raises(LayerError, match="no layer that ssm2edge knows"):
        find_layers(nn.Identity(), WITH_PARTS)
    assert anticausal.system.order == 6


def test_buffers_count_as_stored_numbers_that_are_frozen() -> None:
    layer = S4D(4, 6)
    values = layer.kernel.log_dt.detach()
    del layer.kernel.log_dt
    layer.kernel.register_buffer("log_dt", values)
    (found,) = find_layers(layer)
    assert (found.parameters, found.frozen) == (4 * (4 * 3 + 2), 4)
    shared = nn.Sequential(layer, copy.copy(layer))
    assert [part.parameters for part in find_layers(shared)] == [4 * (4 * 3 + 2), 0]


class Published(S4D):
    """Takes more than its input."""

    d_output = 4

    def __init__(self) -> None:
        super().__init__(4, 6)
        self.transposed, self.mode_name, self.table = True, "diag", [1, 2]

    def forward(self, u: Tensor, state: Tensor | None = None, rate: float = 1.0, **_: Any) -> tuple[Tensor, Tensor | None]:
        return super().forward(u * rate)[0], state


CALLS: list[tuple[dict[str, Any], str | None]] = [
    ({}, None),
    ({"state": None, "rate": 1.0}, None),
    ({"return_output": True}, None),
    ({"rate": 0.5}, "rate=0.5"),
    ({"state": torch.zeros(3)}, "state=a tensor"),
]


@pytest.mark.parametrize(("arguments", "refused"), CALLS)
def test_arguments_at_their_defaults_are_taken_and_others_refused_by_name(arguments: dict[str, Any], refused: str | None) -> None:
    model = nn.ModuleDict({"inner": Published()}).eval()
    layer = full_order(model)["inner"]
    u = torch.randn(2, 4, 20)
    if refused is None:
        y, state = layer(u, **arguments)
        assert state is None
        assert relative(y.detach(), answers(model["inner"], u)) < 1e-5
    else:
        with pytest.raises(LayerError, match=rf"Layer inner \(S4D\) is called with {refused}.*default"):
            layer(u, **arguments)
    if "rate" in arguments:
        with pytest.raises(LayerError, match="arguments it does not take"):
            layer(u, None, 1.0, "more")


@pytest.mark.parametrize("answer", [lambda y: y, lambda y: (y, None), lambda y: [y, None, None], lambda y: (y,)])
def test_answers_come_in_the_original_form(answer: Callable[[Tensor], Any]) -> None:
    class Answering(S4D):
        def forward(self, u: Tensor) -> Any:
            return answer(super().forward(u)[0])

    layer = Answering(4, 6).eval()
    u = torch.randn(2, 4, 20)
    one, other = layer(u), full_order(layer)(u)
    assert type(one) is type(other)
    if not isinstance(one, Tensor):
        assert len(one) == len(other)
        assert all(value is None for value in other[1:])


def test_plain_attributes_and_hooks_stay() -> None:
    model = nn.Sequential(Published()).eval()
    seen: list[str] = []
    model[0].register_forward_pre_hook(lambda module, args: seen.append("before"))
    model[0].register_forward_hook(lambda module, args, answer: seen.append("after") or (answer[0] * 2, None))
    model[0].dropout.register_forward_hook(lambda module, args, answer: seen.append("inside"))
    replaced = full_order(model)
    seen.clear()
    u = torch.randn(2, 4, 20)
    assert relative(answers(replaced, u), answers(model, u)) < 1e-5
    assert seen == ["before", "inside", "after"] * 2
    assert (replaced[0].transposed, replaced[0].mode_name) == (True, "diag")


def test_parts_of_a_layer_keep_their_own_mode() -> None:
    model = DigitClassifier(4, 6, 2, dropout=0.5).train()
    model.layers[0].dropout.eval()
    replaced = full_order(model)
    assert replaced.layers[0].training
    assert not replaced.layers[0].dropout.training
    assert not model.layers[0].dropout.training
    assert blocks(replaced)["layers.0"].training


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_precision_of_the_answer_is_the_originals(dtype: torch.dtype) -> None:
    layer = S4D(4, 6).to(dtype).eval()
    u = torch.randn(2, 4, 30, dtype=dtype)
    expected, actual = answers(layer, u), answers(full_order(layer), u)
    assert actual.dtype == expected.dtype == dtype
    assert relative(actual, expected) < 1e-5


class NotLinear:
    name = "rectifying unit"

    def matches(self, module: nn.Module) -> bool:
        return isinstance(module, nn.Sequential) and any(isinstance(part, nn.ReLU) for part in module)

    def reason(self, module: nn.Module) -> str:
        return "it is not linear; leave it out."


def test_what_no_system_describes_is_named_left_alone_and_refused_where_nothing_else_is() -> None:
    mixed = nn.ModuleDict({"inner": nn.Sequential(S4D(4, 6), nn.ReLU()), "outer": S4D(4, 6)})
    assert [layer.name for layer in find_layers(mixed, refusals=(NotLinear(),))] == ["outer"]
    assert [(layer.name, layer.library) for layer in find_refused(mixed, (NotLinear(),))] == [("inner", "rectifying unit")]
    with pytest.raises(LayerError, match=r"Layer \(the model\) \(rectifying unit\): it is not linear; leave it out\."):
        find_layers(mixed["inner"], refusals=(NotLinear(),))
