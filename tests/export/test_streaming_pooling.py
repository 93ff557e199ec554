"""Poolings over time become running answers, cumulative sums go on, and neither loses what it has seen to rounding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ssm2edge.export.streaming import RULES, StreamingModule, to_streaming
from ssm2edge.traced import InputAxes, trace
from tests.block_by_block import assert_streams, streaming_form
from tests.slow_cases import slow, slow_but

functional = nn.functional

POOLINGS: dict[str, Callable[[Any, Tensor], Any]] = {
    "maximum": lambda m, z: z.max(2).values,
    "maximum of negatives": lambda m, z: (z.amax(-1) - 10, (z - 10).amax(-1), (z + 10).amin((1, 2), keepdim=True)),
    "minimum": lambda m, z: z.min(dim=2, keepdim=True)[0],
    "adaptive": lambda m, z: functional.adaptive_avg_pool1d(z, 1) + functional.adaptive_max_pool1d(z, 1),
    "maximum of the last samples": lambda m, z: functional.max_pool1d(functional.pad(z, (2, 0)), 3, 1),
    "sum": lambda m, z: (z.sum(2), z.sum((1, 2)), z.mT.sum(1, keepdim=True)),
    "sum in double": lambda m, z: z.double().sum(2).float(),
    "count": lambda m, z: ((z > 0).sum(2), (z * (z > 0)).sum(2) / (z > 0).sum(2).clamp(min=1), (10 * z).long().sum(-1)),
    "last": lambda m, z: (z[:, :, -1], z.mT[:, -1], z[..., -1:], z.mT[:, z.shape[2] - 1]),
    "last of a shifted one": lambda m, z: functional.pad(z, (2, 0))[..., :-2][:, :, -1],
    "all together": lambda m, z: (m.linear(z[:, :, -1] + z.mean(2)), torch.cat([z.amax(2), z.sum(2)], 1)),
    "cumulative": lambda m, z: (z.cumsum(2), z.mT.cumsum(1) * 2),
    "cumulative mean": lambda m, z: z.cumsum(-1) / torch.ones_like(z).cumsum(-1),
    "cumulative of a shifted one": lambda m, z: functional.pad(z, (1, 0))[..., :-1].cumsum(2).amax(2),
}


@pytest.mark.parametrize("name", slow_but(list(POOLINGS)[::3], POOLINGS))
def test_blocks_give_the_whole_answer(name: str) -> None:
    assert_streams(POOLINGS[name], steps=12)


def test_states_are_rows_named_after_the_pooling() -> None:
    form = streaming_form(lambda m, z: (z.sum(2), z.amax(2), z.amin(2), z.mean(2), z.cumsum(2), z[..., -1]))
    assert [(s.name, s.shape) for s in form.states[1:]] == [
        ("sum", (8,)),
        ("max", (5,)),
        ("min", (5,)),
        ("mean", (9,)),
        ("cumsum", (8,)),
    ]


def pushed(form: StreamingModule, u: Tensor) -> tuple[Tensor, list[Tensor]]:
    states = list(form.initial_states(u.shape[0]))
    for k in range(u.shape[1]):
        answer, *states = form(u[:, k : k + 1], *states)
    return answer, states


@pytest.mark.parametrize("function", [lambda u: u.sum(1), slow(lambda u: u.cumsum(1))], ids=["sum", "cumulative sum"])
def test_sums_are_exact_to_rounding_after_many_samples(function: Callable[[Tensor], Tensor]) -> None:
    form = form_of(function)
    u = 1 + torch.rand(4, 6000, 1, generator=torch.Generator().manual_seed(0))
    answer, _ = pushed(form, u)
    exact = u.double().sum(1)
    # Without compensation the error is a hundred times the bound.
    assert ((answer.reshape(exact.shape) - exact).abs() / exact).max() <= 2 * torch.finfo(torch.float32).eps


def test_counts_are_exact_beyond_the_numbers_that_float32_holds() -> None:
    form = form_of(lambda u: u.long().sum(1))
    states, many = form.initial_states(1), 2**24 - 3
    answer, *states = form(torch.full((1, 1, 1), float(many)), *states)
    for _ in range(9):
        answer, *states = form(torch.ones(1, 1, 1), *states)
    assert answer.item() == many + 9


class Alone(nn.Module):
    """One function of time, and nothing else."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, u: Tensor) -> Tensor:
        return self.function(u)


def form_of(function: Callable[[Tensor], Tensor]) -> StreamingModule:
    return to_streaming(trace(Alone(function), [InputAxes("u", 1, torch.zeros(1, 5, 1))]), RULES)


def subnormal(values: Tensor) -> Tensor:
    return (values != 0) & (values.abs() < torch.finfo(torch.float32).tiny)


def test_sums_that_vanish_leave_no_subnormal_numbers() -> None:
    form, tiny = form_of(lambda u: u.sum(1)), torch.finfo(torch.float32).tiny
    (state,) = form.initial_states(1)
    state += torch.tensor([[1.0001 * tiny, 1.0003 * tiny]])
    _, state = form(torch.zeros(1, 1, 1), state)
    assert not subnormal(state).any()


REMEMBERING: dict[str, Callable[[Tensor], Tensor]] = {
    "sum": lambda u: u.sum(1),
    "cumulative sum": lambda u: u.cumsum(1),
    "maximum": lambda u: u.amax(1),
    "minimum": lambda u: u.amin(1),
    "convolution": lambda u: functional.conv1d(functional.pad(u.mT, (2, 0)), torch.ones(1, 1, 3)),
    "shift": lambda u: functional.pad(u, (0, 0, 1, 0))[:, :-1],
}


@pytest.mark.parametrize("name", REMEMBERING)
def test_subnormal_samples_are_not_remembered(name: str) -> None:
    form = form_of(REMEMBERING[name])
    u = torch.full((1, 3, 1), 1e-40)
    assert subnormal(u).all()
    _, state = form(u, *form.initial_states(1))
    assert not subnormal(state).any()
