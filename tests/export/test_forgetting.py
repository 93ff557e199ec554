"""Traces leave nothing behind: builds one after the other do not add up."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from ssm2edge.traced import InputAxes, forgetting_traces, trace


class Mixing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mixing = nn.Linear(2, 3)

    def forward(self, u: Tensor) -> Tensor:
        answer: Tensor = self.mixing(u).cumsum(1).mean(1)
        return answer


def test_operators_of_a_trace_are_forgotten() -> None:
    with forgetting_traces():
        trace(Mixing().eval(), [InputAxes("u", 1, torch.randn(1, 8, 2))])
        assert len(FakeTensorMode.cache) > 0
    assert len(FakeTensorMode.cache) == 0
