"""Fixed parts of a sequence bound it from below alone, and the refusal to stream names the operation and the line."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from ssm2edge.export import streaming_module
from ssm2edge.traced import InputAxes, StreamingError, trace
from ssm2edge.traced.running import run_program
from tests.slow_cases import slow_but

PARTS: dict[str, tuple[Callable[[Tensor], Tensor], int, str]] = {
    "the first ten": (lambda y: y[:, :10], 10, "aten.slice"),
    "the last ten": (lambda y: y[:, -10:].tanh(), 10, "aten.slice"),
    "a mean of the last ten": (lambda y: y[:, -10:].mean(1), 10, "aten.slice"),
    "one": (lambda y: y[:, 31], 32, "aten.select"),
    "one from the end": (lambda y: y[:, -7], 7, "aten.select"),
}


class Part(nn.Module):
    def __init__(self, part: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.part = part

    def forward(self, y: Tensor) -> Tensor:
        return self.part(y)


@pytest.mark.parametrize("name", slow_but(("the first ten", "one"), PARTS))
def test_parts_hold_for_every_length_that_has_them(name: str) -> None:
    part, shortest, operation = PARTS[name]
    model = Part(part).eval()
    traced = trace(model, [InputAxes("u", 1, torch.zeros(1, 40, 4))])
    assert (traced.length, traced.shortest, traced.longest) == (None, shortest, None)
    for length in (shortest, shortest + 1, 100):
        u = torch.randn(3, length, 4)
        (found,) = next(reversed(run_program(traced.program, [u]).values()))
        torch.testing.assert_close(found, model(u))
    with pytest.raises(StreamingError, match=rf"the operation {operation}\S* at {__file__}:\d+ mixes samples"):
        streaming_module(traced)
