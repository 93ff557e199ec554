"""What cannot be computed block by block is refused, by the operation's name and the line of the user's code."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ssm2edge.export import export_stream
from ssm2edge.export.streaming import RULES, to_streaming
from ssm2edge.traced import ExportError, StreamingError, trace
from ssm2edge.traced.inputs import InputAxes
from tests.slow_cases import slow
from tests.small_models import CHANNELS, tail, traced

functional = nn.functional

Function = Callable[[Any, Tensor], Any]

REFUSED: list[tuple[str, Function]] = [
    ("aten.flip", lambda m, z: z.flip(-1)),
    ("aten.roll", lambda m, z: z.roll(1, 2)),
    ("aten.softmax", lambda m, z: (z * z.softmax(2)).mean(2)),
    ("aten.conv1d", lambda m, z: m.wide(z)),
    ("aten.div", lambda m, z: z.sum(2) / z.shape[2]),
    ("aten.sum", lambda m, z: (z > 0).sum()),
    ("aten.cumsum", lambda m, z: (z > 0).cumsum(2)),
    ("aten.cumprod", lambda m, z: z.cumprod(2)),
    ("aten.max", lambda m, z: z.max(2)),
    ("aten.argmax", lambda m, z: z.argmax(2)),
    ("aten.amax", lambda m, z: z.amax()),
    ("aten.select", lambda m, z: z[:, :, 1]),
    ("aten.select", lambda m, z: functional.pad(z, (2, 0))[:, :, 0]),
    ("aten.pad", lambda m, z: functional.pad(z, (2, 0), mode="replicate")),
    ("aten.pad", lambda m, z: functional.pad(z, (1, 1), mode="replicate")[..., 1:-1]),
    ("aten.select", lambda m, z: z[:, :, -2]),
    ("aten.slice", lambda m, z: z[:, :, :2]),
    ("aten.slice", lambda m, z: z[:, :, -3:]),
    ("aten.slice", lambda m, z: z[:, :, : z.shape[2] // 2]),
    ("aten.adaptive_avg_pool1d", lambda m, z: functional.adaptive_avg_pool1d(z, 2)),
    ("aten.scaled_dot_product_attention", lambda m, z: functional.scaled_dot_product_attention(z.mT, z.mT, z.mT)),
    ("aten.group_norm", lambda m, z: functional.group_norm(z, 2)),
    ("aten.repeat", lambda m, z: z.repeat(1, 1, 2)),
    ("aten.avg_pool1d", lambda m, z: functional.avg_pool1d(z, 3, 1, 1)),
    ("aten.mean.default", lambda m, z: z.mean()),
    ("aten.mean", lambda m, z: z.mean((0, 2))),
    ("aten.std", lambda m, z: z.std(2)),
    ("aten.layer_norm", lambda m, z: functional.layer_norm(z, (z.shape[2],))),
    ("aten.instance_norm", lambda m, z: functional.instance_norm(z)),
    ("aten.matmul", lambda m, z: z @ z.transpose(1, 2)),
    ("aten.matmul", lambda m, z: z.transpose(1, 2) @ z),
    ("aten.view", lambda m, z: z.view(z.shape[0], -1)),
    ("aten.mul", lambda m, z: z * z.shape[2]),
    ("aten.mul", lambda m, z: z.mean(2) * z.shape[2]),
    ("aten.mean", lambda m, z: z.reshape(-1, 2, z.shape[2]).mean(2)),
    # A mean over time is known after the last sample: no sample may depend on it.
    ("aten.sub", lambda m, z: z - z.mean(2, keepdim=True)),
    ("aten.mul", lambda m, z: z * m.linear(z.mean(2)).sigmoid().unsqueeze(-1)),
    ("aten.where", lambda m, z: torch.where((z.mean(2, keepdim=True) * 2).relu() > 0, z, -z).mean(2)),
    ("aten.expand", lambda m, z: z.mean(2, keepdim=True).expand(-1, -1, z.shape[2])),
]
"""The start of the operation's name, and a function that uses it."""


@pytest.mark.parametrize(
    ("operation", "function"),
    [case if i % 8 == 0 else slow(*case) for i, case in enumerate(REFUSED)],
    ids=[f"{i}-{name}" for i, (name, _) in enumerate(REFUSED)],
)
def test_refused_by_name(operation: str, function: Function) -> None:
    form = traced(tail(function))
    with pytest.raises(StreamingError) as caught:
        to_streaming(form, RULES)
    text = str(caught.value)
    assert f"the operation {operation}" in text
    assert f" at {inspect.getfile(tail)}:" in text
    assert "\n" not in text
    assert text.endswith(".")


class Reversed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = tail(lambda m, z: z)

    def forward(self, u: Tensor) -> Tensor:
        z = self.inner(u)
        z = z.flip(-1)
        return z + 1


def test_refusals_name_the_line_of_the_users_code() -> None:
    lines, first = inspect.getsourcelines(Reversed)
    line = first + next(index for index, text in enumerate(lines) if "flip" in text)
    with pytest.raises(StreamingError) as caught:
        to_streaming(traced(Reversed()), RULES)
    assert f"the operation aten.flip.default at {__file__}:{line} mixes samples" in str(caught.value)


def test_refusal_comes_before_any_graph() -> None:
    with pytest.raises(StreamingError, match="cannot stream"):
        export_stream(traced(tail(lambda m, z: z.flip(-1))), 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "function",
    [
        lambda m, z: z if z.shape[2] > 20 else -z,
        lambda m, z: z if z.shape[2] != 30 else -z,
        lambda m, z: m.mix(z.reshape(z.shape[0], 4, -1, 4).mean(-1) if z.shape[2] > 20 else z[..., ::4]),
        lambda m, z: z.unflatten(2, (-1, 4)).mean(3) * (1 if z.shape[2] % 8 else 2),
        lambda m, z: z + torch.zeros(37),
        lambda m, z: m.lstm(z.mT)[0],
        lambda m, z: m.wide(functional.pad(z, (3, 0), mode="reflect")),
        lambda m, z: z[:3] + torch.zeros(3, 1, 1),
    ],
    ids=[
        "a branch on the length",
        "one length by itself",
        "a branch of frames",
        "every other frame",
        "a table of one length",
        "a recurrent layer",
        "reflection",
        "a batch of one size",
    ],
)
def test_models_that_fix_a_size_are_refused(function: Function) -> None:
    with pytest.raises(ExportError) as caught:
        traced(tail(function))
    text = str(caught.value)
    assert not isinstance(caught.value, StreamingError)
    assert "\n" not in text
    assert "free" in text


def test_models_that_branch_on_values_are_refused() -> None:
    taken = r"takes a number out of a tensor at .*test_streaming_refusals\.py:\d+, by a branch"
    with pytest.raises(ExportError, match=taken) as caught:
        trace(tail(lambda m, z: z if z.sum() > 0 else -z), [InputAxes("u", 2, torch.zeros(1, CHANNELS, 5))])
    assert "\n" not in str(caught.value)
