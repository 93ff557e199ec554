"""Single numbers beside a model's answers are left out, and the build says so."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssm2edge.loading import Signature
from ssm2edge.original.calling import called, left_out


class Logging(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        return 2 * x, x.mean(), {"loss": x.sum(), "last": x[:, -1]}


class Plain(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return 2 * x, x[:, -1]


def test_single_numbers_are_named() -> None:
    sample = [torch.zeros(1, 8, 2)]
    arguments = Signature.of(Logging()).fill(["x"])
    assert arguments is not None
    model, outputs = called(Logging(), arguments, sample)
    assert outputs == ("output.0", "output.2.last")
    said = left_out(model)
    assert said is not None
    assert said.startswith("output.1, output.2.loss of the model's answer are single numbers")
    assert [tuple(y.shape) for y in model(*sample)] == [(1, 8, 2), (1, 2)]
    model, _ = called(Plain(), arguments, sample)
    assert left_out(model) is None
