"""Mega's moving averages, in every version: what replaces a layer at full order computes what the layer computes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ssm2edge.layers import LayerError, blocks, exportable, find_layers
from ssm2edge.original.recording import count_parameters
from tests.layer_answers import full_order, noise, relative

CHANNELS, AVERAGES, LENGTH = 4, 3, 37


class MultiHeadEMA(nn.Module):
    """The published recurrence, sample by sample, in float64: h = q h + p beta x, y = gamma h / sqrt(N) + omega x."""

    NAMES = ("alpha", "delta", "beta", "gamma", "omega")

    def __init__(
        self,
        ndim: int = AVERAGES,
        bidirectional: bool = False,
        against: str = "shifted",
        damped_first: bool = True,
        time_first: bool = True,
        act: str | None = "silu",
        answers_state: bool = False,
        truncation: int | None = None,
    ) -> None:
        super().__init__()
        self.bidirectional, self.truncation, self.scale = bidirectional, truncation, ndim**-0.5
        self.against, self.damped_first, self.time_first, self.answers_state = against, damped_first, time_first, answers_state
        rows = CHANNELS * (1 + bidirectional)
        shapes = [(rows, ndim, 1)] * 3 + [(rows, ndim), (CHANNELS,)]
        for name, shape in zip(self.NAMES, shapes, strict=True):
            self.register_parameter(name, nn.Parameter(torch.randn(shape)))
        if act == "module":
            self.activation = nn.ReLU()
        self.act = act

    def filtered(self, x: Tensor, rows: slice) -> Tensor:
        first, second, beta, gamma = (getattr(self, name).double().reshape(-1, len(self.gains[0])) for name in self.NAMES[:4])
        damping, decay = (first, second) if self.damped_first else (second, first)
        p = 1 / (1 + (-damping[rows]).exp())
        q = 1 - p / (1 + (-decay[rows]).exp())
        h, y = torch.zeros((x.shape[0], *p.shape), dtype=torch.float64), []
        for t in range(x.shape[-1]):
            h = q * h + p * beta[rows] * x[..., t, None]
            y.append((h * gamma[rows]).sum(-1) * self.scale)
        return torch.stack(y, -1)

    @property
    def gains(self) -> Tensor:
        return getattr(self, self.NAMES[3])

    def forward(self, x: Tensor, padding_mask: Tensor | None = None, incremental_state: Any = None) -> Any:
        assert incremental_state is None
        u = (x.permute(1, 2, 0) if self.time_first else x.transpose(1, 2)).double()
        skipped = getattr(self, self.NAMES[4]).double()[:, None] * u
        if padding_mask is not None:
            u = u * ~padding_mask[:, None]
        y = self.filtered(u, slice(CHANNELS)) + skipped
        if self.bidirectional:
            back = self.filtered(u.flip(-1), slice(CHANNELS, None)).flip(-1)
            if self.against == "shifted":
                first_tap = self.filtered(torch.eye(1, u.shape[-1]).double()[None].expand(1, CHANNELS, -1), slice(CHANNELS, None))
                back = back - first_tap[..., :1] * u
            elif self.against == "next":
                back = nn.functional.pad(back, (0, 1))[..., 1:]
            y = y + back
        y = (y.permute(2, 0, 1) if self.time_first else y.transpose(1, 2)).float()
        y = nn.functional.silu(y) if self.act == "silu" else self.activation(y) if self.act == "module" else y
        return (y, None) if self.answers_state else y


class MultiHeadDampedEMA(MultiHeadEMA):
    NAMES = ("damping_factor", "decay_factor", "ema_expansion_matrix", "kernel_projection_matrix", "residual_weight")


OPTIONS: list[dict[str, Any]] = [
    {},
    {"damped_first": False, "time_first": False, "act": None, "answers_state": True},
    *({"bidirectional": True, "against": against} for against in ("shifted", "next", "present")),
    {"bidirectional": True, "against": "present", "damped_first": False, "time_first": False, "act": None},
    {"ndim": 16, "truncation": 50},
]


def layer_of(kind: type[MultiHeadEMA] = MultiHeadEMA, **options: Any) -> MultiHeadEMA:
    torch.manual_seed(0)
    return kind(**options).eval()


def output(module: nn.Module, u: Tensor) -> Tensor:
    with torch.no_grad():
        y = module(u)
    return y[0] if isinstance(y, tuple) else y


@pytest.mark.parametrize(
    ("kind", "options"),
    [*((MultiHeadEMA, options) for options in OPTIONS), (MultiHeadDampedEMA, {"act": "module", "answers_state": True})],
    ids=str,
)
def test_every_version_is_reproduced_at_full_order(kind: type[MultiHeadEMA], options: dict[str, Any]) -> None:
    layer = layer_of(kind, **options)
    found = find_layers(layer)
    assert [part.name for part in found] == (["causal", "anticausal"] if layer.bidirectional else [""])
    assert all((part.library, part.system.order) == ("Mega", len(layer.gains[0])) for part in found)
    assert sum(part.parameters for part in found) == sum(p.numel() for p in layer.parameters())
    assert found[0].lengths == (range(1, 51) if layer.truncation else None)
    replaced = full_order(layer)
    assert count_parameters(nn.ModuleList(blocks(replaced).values())) < count_parameters(layer)
    for length in (1, 2, LENGTH):
        u = noise(length, 2, CHANNELS) if layer.time_first else noise(2, length, CHANNELS)
        expected = output(layer, u)
        assert relative(output(replaced, u), expected) < 1e-5
        assert relative(output(exportable(replaced), u), expected) < 1e-5


@pytest.mark.parametrize("by_name", [False, True])
def test_padded_samples_are_masked_as_the_layer_does(by_name: bool) -> None:
    class Kept(MultiHeadEMA):
        def forward(self, x: Tensor, attention_mask: Tensor | None = None) -> Any:
            return super().forward(x, None if attention_mask is None else attention_mask == 0)

    u, padded = noise(LENGTH, 2, CHANNELS), torch.arange(LENGTH) >= torch.tensor([[LENGTH], [20]])
    for kind, mask in ((MultiHeadEMA, padded), (Kept, ~padded)):
        layer = layer_of(kind)
        name = "padding_mask" if kind is MultiHeadEMA else "attention_mask"
        with torch.no_grad():
            expected, actual = (one(u, **{name: mask}) if by_name else one(u, mask) for one in (layer, full_order(layer)))
        assert relative(actual, expected) < 1e-5


def test_what_computes_something_else_is_refused_by_name() -> None:
    class Late(MultiHeadEMA):
        def forward(self, x: Tensor, *rest: Any) -> Any:
            return super().forward(x.roll(1, 0), *rest)

    with pytest.raises(LayerError, match=r"Layer 0 \(Mega\) cannot be read: .*computes something else"):
        find_layers(nn.Sequential(layer_of(Late)))


@pytest.mark.parametrize("name", MultiHeadEMA.NAMES)
def test_weights_that_are_not_finite_are_refused_by_name(name: str) -> None:
    layer = layer_of()
    with torch.no_grad():
        getattr(layer, name).view(-1)[0] = math.nan
    with pytest.raises(LayerError, match=f"parameter {name} "):
        find_layers(layer)
