"""Layers that return a state beside their output are replaced; a model that uses the state is told so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models.digits.model import S4D
from ssm2edge.layers import Examples, LayerError, exportable, find_layers, realise_layers, replace_layers
from ssm2edge.traced import InputAxes, trace
from tests.layers.filters import DampedFilter


class Carrying(S4D):
    """As the libraries do that step: the last sample's state beside the sequence."""

    def forward(self, u: Tensor) -> tuple[Tensor, Tensor, None]:  # type: ignore[override]  # the difference is the point
        return super().forward(u)[0], u[..., -1].cumsum(-1), None


class CarryingFilter(DampedFilter):
    def forward(self, u: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:  # type: ignore[override]  # as above
        return super().forward(u), (u[..., -1], u[..., -2])


class Model(nn.Module):
    def __init__(self, layer: nn.Module, use: Callable[[Tensor, Any], Tensor]) -> None:
        super().__init__()
        self.layer, self.use, self.seen = layer, use, None

    def forward(self, u: Tensor) -> Tensor:
        y, *states = self.layer(u)
        self.seen = states[0]
        return self.use(y, states[0])


def replaced(kind: type[nn.Module], use: Callable[[Tensor, Any], Tensor]) -> tuple[nn.Module, nn.Module]:
    """The model, and the same with its layer at full order."""
    torch.manual_seed(0)
    model: nn.Module = Model(kind(4, 6) if kind is Carrying else kind(), use).eval()
    if kind is CarryingFilter:
        inputs = [torch.randn(2, 4, 64)]
        model = realise_layers(model, Examples.of(inputs, [2]), lti=["layer"])
    return model, replace_layers(model, {layer.name: layer.system for layer in find_layers(model)})


@pytest.mark.parametrize("kind", [Carrying, CarryingFilter])
def test_states_beside_the_output_are_dropped(kind: type[nn.Module]) -> None:
    model, other = replaced(kind, lambda y, state: y)
    u = torch.randn(2, 4, 64)
    with torch.no_grad():
        torch.testing.assert_close(other(u), model(u), rtol=1e-4, atol=1e-4)
    trace(exportable(other), [InputAxes("u", 2, torch.zeros(1, 4, 5))])


USES: dict[str, Callable[[Tensor, Any], Tensor]] = {
    "added": lambda y, state: y + state,
    "on the left": lambda y, state: state + y,
    "in a function of torch": lambda y, state: torch.cat((y[..., 0], state), -1),
    "indexed": lambda y, state: y + state[0],
    "unpacked": lambda y, state: y + sum(state),
    "a method": lambda y, state: y + state.mean(),
}


@pytest.mark.parametrize("use", USES)
def test_a_model_that_uses_a_dropped_state_is_told(use: str) -> None:
    _, other = replaced(Carrying, USES[use])
    for run in (
        lambda: other(torch.randn(2, 4, 4)),
        lambda: trace(exportable(other), [InputAxes("u", 2, torch.zeros(1, 4, 5))]),
    ):
        with pytest.raises(LayerError, match="The model uses what a layer returns beside its output"):
            run()
