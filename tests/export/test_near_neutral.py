"""What a model adds that is almost nothing, or multiplies with that is almost one, is in the graph."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ssm2edge.export import export_offline, export_stream
from ssm2edge.traced import InputAxes, trace
from ssm2edge.verification.stability import count_subnormal
from tests.export.test_passes import session

FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "of a norm": lambda u: u / (u.norm(dim=2, keepdim=True) + 1e-12),
    "on the left": lambda u: u / (1e-9 + u.abs()),
    "taken away": lambda u: u / (u.abs() - (-1e-10)),
    "under a root": lambda u: u * torch.rsqrt(u.square() + 1e-16),
    "a factor": lambda u: u * 1.000005 - u,
    "a divisor": lambda u: u / 1.000005 - u,
    "in place": lambda u: u.abs().add_(1e-12).log(),
}


class Of(nn.Module):
    def __init__(self, *functions: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.functions = functions

    def forward(self, u: Tensor) -> tuple[Tensor, ...]:
        return tuple(function(u) for function in self.functions)


@pytest.fixture(scope="module")
def answers() -> dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Return the answers of the graph and of the model to signals with silence in them, by function."""
    model = Of(*FUNCTIONS.values())
    graph = export_offline(trace(model, [InputAxes("u", 1, torch.zeros(1, 5, 3))]))
    u = np.random.default_rng(0).standard_normal((2, 6, 3)).astype(np.float32)
    u[0, 2:] = 0
    expected = [value.numpy() for value in model(torch.from_numpy(u))]
    return dict(zip(FUNCTIONS, zip(session(graph).run(None, {"u": u}), expected, strict=True), strict=True))


@pytest.mark.parametrize("place", FUNCTIONS)
def test_small_numbers_stay(place: str, answers: dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]) -> None:
    found, expected = answers[place]
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_states_of_streaming_graphs_do_not_become_subnormal() -> None:
    graph, _ = export_stream(trace(Of(lambda u: u.sum(1)), [InputAxes("u", 1, torch.zeros(1, 5, 1))]), 1)
    tiny = np.finfo(np.float32).tiny
    state = np.array([[1.0001, 1.0003]], np.float32) * tiny
    _, after = session(graph).run(None, {"u": np.zeros((1, 1, 1), np.float32), "state.sum": state})
    assert count_subnormal(after) == 0
    assert not after.any()
