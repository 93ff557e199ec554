"""The streaming form of a model, run eagerly block by block, against the model on the whole sequence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ssm2edge.export.streaming import RULES, StreamingModule, to_streaming
from ssm2edge.traced import TracedModel
from tests.small_models import CHANNELS, as_tuple, tail, traced


def streamed(
    module: StreamingModule, form: TracedModel, u: tuple[Tensor, ...], axes: tuple[int, ...], cuts: Sequence[int]
) -> list[Tensor]:
    """Outputs over the whole sequence from blocks of the given sizes."""
    states: tuple[Tensor, ...] = module.initial_states(u[0].shape[0])
    parts: list[tuple[Tensor, ...]] = []
    start, count = 0, len(form.outputs)
    for size in cuts:
        answer = module(*(x.narrow(axis, start, size) for x, axis in zip(u, axes, strict=True)), *states)
        for before, after in zip(states, answer[count:], strict=True):
            assert (after.shape, after.dtype) == (before.shape, before.dtype)
        parts.append(answer[:count])
        states, start = answer[count:], start + size
    joined = []
    for values, traced_value in zip(zip(*parts, strict=True), form.output_values(), strict=True):
        time = form.time_axes(traced_value)
        joined.append(torch.cat(values, time[0]) if time else values[-1])
    return joined


def streaming_form(function: Callable[[Any, Tensor], Any], tails: Callable[..., nn.Module] = tail) -> StreamingModule:
    """The streaming form of a layer and a function behind it."""
    return to_streaming(traced(tails(function)), RULES)


def assert_streams(
    function: Callable[[Any, Tensor], Any], tails: Callable[..., nn.Module] = tail, steps: int = 22
) -> StreamingModule:
    """Blocks of one frame, of several sizes and of everything give what the model gives; running answers at every block."""
    model = tails(function)
    form = traced(model)
    module = to_streaming(form, RULES)
    frame = module.frame
    u = torch.randn(3, CHANNELS, steps * frame)
    with torch.no_grad():
        expected = as_tuple(model(u))
        for cuts in ([steps], [1, 5, steps - 6], [1] * steps):
            actual = streamed(module, form, (u,), (2,), [frame * size for size in cuts])
            assert len(actual) == len(expected)
            for found, whole in zip(actual, expected, strict=True):
                assert found.shape == whole.shape
                torch.testing.assert_close(found, whole, rtol=1e-4, atol=1e-5)
        for prefix in (1, 2, 9):
            if prefix * frame < form.shortest:
                continue
            before = as_tuple(model(u[:, :, : prefix * frame]))
            for found, whole in zip(streamed(module, form, (u,), (2,), [frame] * prefix), before, strict=True):
                torch.testing.assert_close(found, whole, rtol=1e-4, atol=1e-5)
    return module
