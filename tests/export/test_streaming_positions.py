"""Positions in streams: tables that are cut to the length, and what is computed of a count of samples."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from ssm2edge.export import export_offline, export_stream, streaming_module
from ssm2edge.runtime import InputError, Model, Stream
from ssm2edge.traced import InputAxes, StreamingError, trace
from tests.slow_cases import slow_but

MOST, WIDTH = 24, 4


class Places(nn.Module):
    """A function of the input that may use the tables here."""

    def __init__(self, function: Callable[[Places, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function
        self.learned = nn.Parameter(torch.randn(1, MOST, WIDTH))
        self.embedding = nn.Embedding(MOST, WIDTH)
        self.register_buffer("fixed", torch.randn(MOST, WIDTH))

    def forward(self, u: Tensor) -> Tensor:
        return self.function(self, u)


def steps(u: Tensor) -> Tensor:
    return torch.arange(u.shape[1])


STREAMED: dict[str, Callable[[Places, Tensor], Tensor]] = {
    "learned": lambda m, u: u + m.learned[:, : u.shape[1]],
    "learned, behind a sum": lambda m, u: u.cumsum(1) * m.learned[:, : u.shape[1], :].tanh(),
    "a buffer": lambda m, u: torch.relu(u) + m.fixed[: u.size(1)],
    "narrowed": lambda m, u: u + m.learned.narrow(1, 0, u.shape[1]),
    "embedded": lambda m, u: u + m.embedding(steps(u)),
    "embedded for the batch": lambda m, u: u + m.embedding(steps(u)[None].expand(u.shape[0], -1)),
    "picked": lambda m, u: u + m.fixed[steps(u)],
    "picked from the second": lambda m, u: u + m.embedding(steps(u) + 2),
    "channels first": lambda m, u: (u.mT + m.learned.mT[..., : u.shape[1]]).mT,
    "beside the channels": lambda m, u: torch.cat((u, m.learned[:, : u.shape[1]].expand(u.shape[0], -1, -1)), -1),
    "used twice": lambda m, u: (u + m.learned[:, : u.shape[1]]) * m.learned[:, : u.shape[1]].sigmoid(),
    "a mean": lambda m, u: (u * m.learned[:, : u.shape[1]]).mean(1),
    "waves beside a table": lambda m, u: u + m.learned[:, : u.shape[1]] + torch.sin(steps(u) / 7.0)[:, None],
}


def waves(u: Tensor) -> Tensor:
    rates = torch.exp(torch.arange(0, WIDTH, 2) * -0.7)
    angles = steps(u)[:, None] * rates
    return torch.stack((angles.sin(), angles.cos()), -1).flatten(1)


COMPUTED: dict[str, Callable[[Places, Tensor], Tensor]] = {
    "waves": lambda m, u: u + waves(u),
    "waves of the batch": lambda m, u: u.cumsum(1) * waves(u)[None],
    "one wave": lambda m, u: u + torch.sin(torch.arange(u.shape[1], dtype=torch.float32) / 7.0)[:, None],
    "a ramp, channels first": lambda m, u: (u.mT * torch.exp(-0.1 * steps(u))).mT,
    "a running mean": lambda m, u: u.cumsum(1) / torch.arange(1, u.shape[1] + 1)[:, None],
    "every other number": lambda m, u: u * torch.arange(3, 2 * u.shape[1] + 3, 2)[:, None],
    "a mean of weighted samples": lambda m, u: (u * (steps(u) % 5)[:, None]).mean(1),
}


@pytest.mark.parametrize("block", [1, 5])
@pytest.mark.parametrize("name", slow_but(("waves", "one wave"), COMPUTED))
def test_streams_compute_values_of_their_count_without_an_end(name: str, block: int, tmp_path: object) -> None:
    model = Places(COMPUTED[name]).eval()
    traced = trace(model, [InputAxes("u", 1, torch.zeros(1, 6, WIDTH))])
    assert (traced.length, traced.longest) == (None, None)
    path = f"{tmp_path}/stream.onnx"
    onnx.save(export_stream(traced, block)[0], path)
    u = np.random.default_rng(0).standard_normal((2, 60, WIDTH)).astype(np.float32)
    with torch.no_grad():
        expected = model(torch.from_numpy(u)).numpy()
        fresh = model(torch.from_numpy(u[1:, :20])).numpy()
    with Stream(path, 2) as stream:
        (found,) = stream.push(u).values()
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
        # Rows count for themselves.
        stream.reset(rows=[1])
        (found,) = stream.push(np.stack((u[0, :20], u[1, :20]))).values()
        np.testing.assert_allclose(found[1:], fresh, rtol=1e-4, atol=1e-5)
        assert not np.allclose(found[0], found[0] * 0 + expected[0, :20] if found.ndim == 3 else expected[0])


@pytest.mark.parametrize("share", [lambda u: steps(u) / u.shape[1], lambda u: steps(u).flip(0)], ids=["share", "from the end"])
def test_values_that_depend_on_the_length_are_refused(share: Callable[[Tensor], Tensor]) -> None:
    traced = trace(Places(lambda m, u: u + share(u)[:, None]).eval(), [InputAxes("u", 1, torch.zeros(1, 6, WIDTH))])
    with pytest.raises(StreamingError, match=r"depends on the length of the whole sequence|uses the length"):
        streaming_module(traced)


def model_of(name: str) -> Places:
    torch.manual_seed(0)
    return Places(STREAMED[name]).eval()


@pytest.mark.parametrize("block", [1, 5])
@pytest.mark.parametrize("name", slow_but(("learned", "embedded", "channels first"), STREAMED))
def test_streams_count_their_samples(name: str, block: int, tmp_path: object) -> None:
    model = model_of(name)
    traced = trace(model, [InputAxes("u", 1, torch.zeros(1, 6, WIDTH))])
    most = MOST - 2 * (name == "picked from the second")
    assert (traced.length, traced.longest) == (None, most)
    path = str(tmp_path)
    onnx.save(export_offline(traced), f"{path}/offline.onnx")
    onnx.save(export_stream(traced, block)[0], f"{path}/stream.onnx")
    whole = most // block * block
    u = torch.randn(3, most, WIDTH)
    with torch.no_grad():
        expected = [model(u[:, :length]).numpy() for length in (whole, most)]
    with Model(f"{path}/offline.onnx") as offline:
        np.testing.assert_allclose(offline.run(u.numpy())["output"], expected[1], rtol=1e-4, atol=1e-5)
        with pytest.raises(InputError, match=f"no more than {most}"):
            offline.run(torch.randn(1, most + 1, WIDTH).numpy())
    with Stream(f"{path}/stream.onnx", 3) as stream:
        for _ in range(2):
            parts = [stream.push(u[:, start : start + 7].numpy()) for start in range(0, whole, 7)]
            found = np.concatenate([part["output"] for part in parts], 1) if expected[0].ndim == 3 else parts[-1]["output"]
            np.testing.assert_allclose(found[:, :whole], expected[0][:, :whole], rtol=1e-4, atol=1e-5)
            with pytest.raises(InputError, match=f"no more than {most}"):
                stream.push(u[:, :7].numpy())
            stream.reset()


def test_rows_at_different_places_get_their_own_positions(tmp_path: object) -> None:
    model = model_of("learned")
    traced = trace(model, [InputAxes("u", 1, torch.zeros(1, 6, WIDTH))])
    onnx.save(export_stream(traced, 1)[0], f"{tmp_path}/stream.onnx")
    u = torch.randn(2, 12, WIDTH)
    with torch.no_grad():
        expected = model(u).numpy()
    with Stream(f"{tmp_path}/stream.onnx", 2) as stream:
        stream.push(u[:, :5].numpy())
        stream.reset([1])
        found = stream.push(torch.stack((u[0, 5:10], u[1, :5])).numpy())["output"]
    np.testing.assert_allclose(found, np.stack((expected[0, 5:10], expected[1, :5])), rtol=1e-5, atol=1e-6)


REFUSED: dict[str, tuple[Callable[[Places, Tensor], Tensor], str]] = {
    "from the end": (lambda m, u: u + m.learned[:, : u.shape[1]].flip(1), "depends on the length"),
    "a share of the length": (
        lambda m, u: u + m.learned[:, : u.shape[1]] * (steps(u) / u.shape[1])[:, None],
        "depends on the length|uses the length",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_table_is_refused(name: str) -> None:
    torch.manual_seed(0)
    function, said = REFUSED[name]
    traced = trace(Places(function).eval(), [InputAxes("u", 1, torch.zeros(1, 6, WIDTH))])
    with pytest.raises(StreamingError, match=said) as caught:
        streaming_module(traced)
    assert "\n" not in str(caught.value)
