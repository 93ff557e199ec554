"""Operations that no table lists stream where their value at a time depends on that time alone; batch and time may be merged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from ssm2edge.export import export_offline
from ssm2edge.traced import ExportError, StreamingError
from tests.block_by_block import assert_streams, streaming_form
from tests.slow_cases import slow_but
from tests.small_models import CHANNELS, as_tuple, tail, traced

functional = nn.functional

Function = Callable[[Any, Tensor], Any]


def normalised(z: Tensor, squared: bool) -> Tensor:
    scale, centre = (torch.var_mean if squared else torch.std_mean)(z, dim=1, keepdim=True, unbiased=False)
    return (z - centre) / ((scale + 1e-5).sqrt() if squared else scale + 1e-5)


ALONE: dict[str, Function] = {
    "einsum with a weight": lambda m, z: torch.einsum("bct,dc->bdt", z, m.linear.weight),
    "einsum of two signals": lambda m, z: torch.einsum("bct,bdt->bcdt", z, z.sin()),
    "einsum, time first": lambda m, z: torch.einsum("btc,dc->btd", z.mT, m.linear.weight),
    "tensordot": lambda m, z: torch.tensordot(z, m.linear.weight, dims=([1], [0])),
    "var_mean": lambda m, z: normalised(z, True),
    "std_mean": lambda m, z: normalised(z, False),
    "unit vectors": lambda m, z: functional.normalize(z, dim=1),
    "logsumexp": lambda m, z: z.logsumexp(1),
    "largest": lambda m, z: z.max(1)[0],
    "sorted channels": lambda m, z: z.sort(1)[0],
    "cumulative over channels": lambda m, z: z.cumsum(1),
    "chosen channels": lambda m, z: z[:, [2, 0]],
    "stored statistics": lambda m, z: functional.instance_norm(
        z, m.batch_norm.running_mean, m.batch_norm.running_var, use_input_stats=False
    ),
    "stored statistics, behind an axis": lambda m, z: m.batch_norm(z.unsqueeze(-1).flatten(2)),
    "a value for a log": lambda m, z: (z.mean(), z.flip(2).std(2), z * 2)[2],
    "merged, linear": lambda m, z: m.linear(z.mT.reshape(-1, CHANNELS)).reshape(z.shape[0], -1, CHANNELS),
    "merged, stored statistics": lambda m, z: m.batch_norm(z.mT.reshape(z.shape[0] * z.shape[2], CHANNELS))
    .reshape(z.shape[0], z.shape[2], CHANNELS)
    .mT,
    "merged, flattened": lambda m, z: m.linear(z.mT.flatten(0, 1)).unflatten(0, (z.shape[0], -1)).mean(1),
    "merged, time before batch": lambda m, z: m.linear(z.permute(2, 0, 1).reshape(-1, CHANNELS))
    .reshape(z.shape[2], z.shape[0], CHANNELS)
    .transpose(0, 1),
    "merged, of the same shape": lambda m, z: m.linear(z.mT.flatten(0, 1)).view_as(z.mT).reshape_as(z.mT.unsqueeze(2)).mT,
    "merged with heads": lambda m, z: z.mT.reshape(-1, 2, 2).softmax(-1).reshape(z.shape[0], -1, CHANNELS),
    "merged, convolved over channels": lambda m, z: m.wide(z.mT.reshape(-1, 1, CHANNELS).expand(-1, CHANNELS, -1)).reshape(
        z.shape[0], z.shape[2], -1
    ),
    "merged twice, padded before": lambda m, z: m.layer(
        m.linear(functional.pad(z, (2, 0))[..., :-2].mT.reshape(-1, CHANNELS)).reshape(z.shape[0], -1, CHANNELS).mT
    )[0],
    "merged in frames of two": lambda m, z: functional.avg_pool1d(z, 2)
    .mT.reshape(-1, CHANNELS)
    .softmax(-1)
    .reshape(z.shape[0], -1, CHANNELS),
}  # fmt: skip


@pytest.mark.parametrize("name", slow_but(("einsum with a weight", "std_mean", "merged, linear", "merged with heads"), ALONE))
def test_blocks_give_the_whole_answer(name: str) -> None:
    assert_streams(ALONE[name], steps=10)


MIXED: dict[str, tuple[str, Function]] = {
    "einsum over time": ("aten.einsum", lambda m, z: torch.einsum("bct,bdt->bcd", z, z)),
    "einsum with another time": ("aten.einsum", lambda m, z: torch.einsum("bct,bcs->bts", z, z)),
    "deviation over time": ("aten.std_mean", lambda m, z: torch.std_mean(z, dim=2)[0]),
    "sorted times": ("aten.sort", lambda m, z: z.sort(2)[0]),
    "cumulative largest": ("aten.cummax", lambda m, z: z.cummax(2)[0]),
    "summed over all rows": ("aten.cumsum", lambda m, z: z.mT.reshape(-1, CHANNELS).cumsum(0).reshape(z.shape[0], -1, CHANNELS)),
    "taken apart in another order": (
        "aten.reshape",
        lambda m, z: z.mT.reshape(-1, CHANNELS).sin().reshape(z.shape[2], z.shape[0], CHANNELS).transpose(0, 1),
    ),
    "an answer of rows": ("aten.tanh", lambda m, z: z.mT.reshape(-1, CHANNELS).tanh()),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MIXED)
def test_operations_that_look_at_other_times_are_named(name: str) -> None:
    operation, function = MIXED[name]
    with pytest.raises(StreamingError) as caught:
        streaming_form(function, tail)
    assert f"the operation {operation}" in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("squared", [True, False])
def test_compositions_are_taken_apart_where_the_exporter_has_no_form(squared: bool) -> None:
    model = tail(lambda m, z: normalised(z, squared))
    graph = export_offline(traced(model))
    u = torch.randn(2, CHANNELS, 33)
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    with torch.no_grad():
        (expected,) = as_tuple(model(u))
    np.testing.assert_allclose(session.run(None, {"u": u.numpy()})[0], expected.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("function", [lambda m, z: torch.hypot(z, z), lambda m, z: z.lgamma()])
def test_operations_without_a_form_are_named_with_the_line(function: Function) -> None:
    with pytest.raises(ExportError, match=r"written as ONNX: aten\.(hypot|lgamma).* at .*small_models\.py:\d+") as caught:
        export_offline(traced(tail(function)))
    assert "\n" not in str(caught.value)
