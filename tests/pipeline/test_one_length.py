"""Models that hold for sequences of one length only: built for that length, with a note on the operation and the line."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ssm2edge
from models.digits.model import S4D
from ssm2edge.runtime import InputError
from ssm2edge.traced import ExportError, InputAxes, LengthError, trace, trace_at
from tests.slow_cases import slow_but
from tests.small_models import replaced

LENGTH, WIDTH = 24, 4


class Bound(nn.Module):
    """One S4D layer, then a function that may use the modules here."""

    def __init__(self, function: Callable[[Bound, Tensor], Tensor]) -> None:
        super().__init__()
        self.encoder, self.layer = nn.Linear(2, WIDTH), S4D(WIDTH, 6)
        self.gru, self.pool = nn.GRU(WIDTH, WIDTH, batch_first=True), nn.MaxPool1d(2, ceil_mode=True)
        self.attention = nn.MultiheadAttention(WIDTH, 2, batch_first=True)
        self.whole = nn.Linear(WIDTH * LENGTH, 3)
        self.positions = nn.Parameter(torch.randn(1, 2 * LENGTH, WIDTH))
        self.register_buffer("mask", torch.triu(torch.full((LENGTH, LENGTH), -torch.inf), 1))
        self.function = function

    def forward(self, u: Tensor) -> Tensor:
        z = self.encoder(u)
        return self.function(self, z + self.layer(z.mT)[0].mT)


def looped(m: Bound, z: Tensor) -> Tensor:
    total, answers = torch.zeros_like(z[:, 0]), []
    for t in range(z.shape[1]):
        total = torch.tanh(total + z[:, t])
        answers.append(total)
    return torch.stack(answers, 1)


BOUND: dict[str, tuple[str, Callable[[Bound, Tensor], Tensor]]] = {
    "a whole table": ("aten.add", lambda m, z: z + m.positions[:, :LENGTH]),
    "recurrent": ("aten.gru", lambda m, z: m.gru(z)[0]),
    "pooled": ("aten.max_pool1d", lambda m, z: m.pool(z.mT).mean(2)),
    "a loop": ("", looped),
    "attention": ("", lambda m, z: m.attention(z, z, z, attn_mask=m.mask, need_weights=False)[0]),
    "all samples at once": ("aten.linear", lambda m, z: m.whole(z.flatten(1))),
}  # fmt: skip


def bound(name: str) -> Bound:
    torch.manual_seed(0)
    return Bound(BOUND[name][1]).eval()


@pytest.mark.parametrize("name", slow_but(("recurrent",), BOUND))
def test_the_operation_and_the_line_are_named(name: str) -> None:
    model = replaced(bound(name))
    inputs = [InputAxes("u", 1, torch.zeros(1, LENGTH, 2))]
    with pytest.raises(LengthError) as caught:
        trace(model, inputs)
    place = caught.value.place
    assert place.startswith(f"the operation {BOUND[name][0]}" if BOUND[name][0] else "line ")
    file, _, line = place.rpartition(" ")[2].rpartition(":")
    assert file == __file__
    lines, first = inspect.getsourcelines(looped) if name == "a loop" else ([], 0)
    assert not lines or "range" in lines[int(line) - first]
    traced = trace_at(model, inputs, LENGTH, None, place)
    assert (traced.length, traced.shortest) == (LENGTH, LENGTH)
    u = torch.randn(3, LENGTH, 2)
    with torch.no_grad():
        torch.testing.assert_close(traced.program.module()(u), model(u), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", slow_but(("recurrent",), BOUND))
@pytest.mark.usefixtures("brief_latencies")
def test_models_of_one_length_are_built_for_it(name: str, tmp_path: Path) -> None:
    model, samples = bound(name), torch.randn(8, LENGTH, 2, generator=torch.Generator().manual_seed(3))
    built = ssm2edge.build(model, samples, tmp_path / "out", keep=1.0, calibrate="none")
    with torch.no_grad():
        np.testing.assert_allclose(built.run(samples)["output"], model(samples).numpy(), rtol=1e-4, atol=1e-5)
    assert not built.manifest.streaming.available
    reason = built.manifest.streaming.reason
    assert reason is not None
    assert f"exactly {LENGTH} samples" in reason
    assert __file__ in reason
    assert built.decided == reason
    with pytest.raises(InputError, match=f"has {LENGTH - 1} samples, but the model takes sequences of exactly {LENGTH}"):
        built.run(samples[:, 1:])


@pytest.mark.slow
@pytest.mark.parametrize("most", [LENGTH, 2 * LENGTH])
@pytest.mark.usefixtures("brief_latencies")
def test_learned_positions_end_and_stream(most: int, tmp_path: Path) -> None:
    model, samples = Bound(lambda m, z: z + m.positions[:, : z.shape[1]]), torch.randn(8, LENGTH, 2)
    model.positions = nn.Parameter(torch.randn(1, most, WIDTH))
    built = ssm2edge.build(model.eval(), samples, tmp_path / "out", keep=1.0, calibrate="none")
    assert dict(built.manifest.lengths) == {"shortest": 1, "longest": most}
    assert built.decided is not None
    assert f"no more than {most} samples, because the operation aten.slice.Tensor at {__file__}" in built.decided
    u = torch.randn(2, most + 1, 2)
    with torch.no_grad():
        expected = model(u[:, :most]).numpy()
    np.testing.assert_allclose(built.run(u[:, :most])["output"], expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match=f"no more than {most}"):
        built.run(u)
    with built.stream(2) as stream:
        found = np.concatenate([stream.push(u[:, :7].numpy())["output"], stream.push(u[:, 7:most].numpy())["output"]], 1)
        with pytest.raises(InputError, match=f"no more than {most}"):
            stream.push(u[:, :1].numpy())
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("brief_latencies")
def test_a_length_may_be_asked_for(tmp_path: Path) -> None:
    model, samples = Bound(lambda m, z: z).eval(), torch.randn(8, LENGTH, 2, generator=torch.Generator().manual_seed(3))
    options: dict[str, Any] = {"keep": 1.0, "calibrate": "none"}
    assert ssm2edge.build(model, samples, tmp_path / "free", **options).manifest.streaming.available
    built = ssm2edge.build(model, samples, tmp_path / "out", **options, length=LENGTH)
    assert built.manifest.options["length"] == LENGTH
    assert built.manifest.streaming.available
    with built.stream(8) as stream:
        found = stream.push(samples.numpy())["output"]
        with pytest.raises(InputError, match=f"no more than {LENGTH}"):
            stream.push(samples.numpy())
    np.testing.assert_allclose(found, built.run(samples)["output"], rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        np.testing.assert_allclose(built.run(samples)["output"], model(samples).numpy(), rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match=f"exactly {LENGTH}"):
        built.run(samples[:, 1:])
    with pytest.raises(ssm2edge.Error, match=f"of {LENGTH + 1} samples cannot be checked on samples of {LENGTH}"):
        ssm2edge.build(model, samples, tmp_path / "other", **options, length=LENGTH + 1)


def test_models_that_fix_their_batch_have_no_graph_of_one_length_either() -> None:
    model = replaced(Bound(lambda m, z: z[:3] + torch.zeros(3, 1, 1)).eval())
    with pytest.raises(ExportError, match="cannot be exported") as caught:
        trace_at(model, [InputAxes("u", 1, torch.zeros(1, LENGTH, 2))], LENGTH)
    assert "\n" not in str(caught.value)


class Packed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(2, 2, batch_first=True)

    def forward(self, u: Tensor) -> Tensor:
        lengths = torch.full((u.shape[0],), u.shape[1])
        packed = nn.utils.rnn.pack_padded_sequence(u, lengths, batch_first=True)
        padded: Tensor = nn.utils.rnn.pad_packed_sequence(self.gru(packed)[0], batch_first=True)[0]
        return padded


def test_packed_sequences_are_refused_in_one_sentence() -> None:
    inputs = [InputAxes("u", 1, torch.zeros(1, LENGTH, 2))]
    with pytest.raises(ExportError, match=rf"packs sequences of different lengths at {__file__}:\d+, which no graph does; call"):
        trace(Packed().eval(), inputs)
