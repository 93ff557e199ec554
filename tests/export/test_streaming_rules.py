"""The streaming form of a model, run eagerly: blocks of any size, in order, give what the model gives on the whole sequence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models.digits.model import DigitClassifier
from ssm2edge.export.streaming import RULES, to_streaming
from ssm2edge.traced import InputAxes, trace
from tests.block_by_block import assert_streams, streamed
from tests.slow_cases import slow_but
from tests.small_models import CHANNELS, replaced, tail, traced

functional = nn.functional


def shifted(x: Tensor, axis: int) -> Tensor:
    """A sequence one sample later, the first sample twice."""
    return torch.cat((x[(slice(None),) * axis + (slice(1),)], x[(slice(None),) * axis + (slice(-1),)]), axis)


ACCEPTED: dict[str, Callable[[Any, Tensor], Any]] = {
    "pointwise": lambda m, z: torch.where(z > 0, z.exp() - 1, 0.1 * z).clamp(-3, 3) * z.sigmoid() + 2,
    "in place": lambda m, z: z.mul(2).add_(1).relu_(),
    "double": lambda m, z: z.double().tanh().float(),
    "transpose": lambda m, z: z.transpose(1, 2).permute(2, 0, 1).movedim(1, 0),
    "one of several": lambda m, z: functional.one_hot((z[:, 0] > 0).long(), CHANNELS).float() @ m.linear.weight,
    "linear": lambda m, z: m.linear(z.transpose(1, 2)),
    "weight times value": lambda m, z: m.linear.weight @ z,
    "value times weight": lambda m, z: z.transpose(1, 2) @ m.linear.weight,
    "layer norm": lambda m, z: m.norm(z.transpose(1, 2)),
    "batch norm": lambda m, z: m.batch_norm(z),
    "1x1 convolution": lambda m, z: m.mix(z),
    "gate over channels": lambda m, z: functional.glu(m.mix(z), dim=-2),
    "softmax over channels": lambda m, z: z.softmax(1),
    "split and join": lambda m, z: torch.cat([part * k for k, part in enumerate(z.chunk(2, dim=1), 2)], dim=1),
    "statistics over channels": lambda m, z: (z - z.mean(1, keepdim=True)) / (1 + z.square().sum(1, keepdim=True)),
    "one channel": lambda m, z: z[:, 1] + z[:, 2:4].amax(1),
    "flip of channels": lambda m, z: z.flip(1),
    "view by sizes": lambda m, z: z.transpose(1, 2).reshape(z.shape[0], z.shape[2], 2, 2).flatten(2),
    "view by one unknown": lambda m, z: z.transpose(1, 2).unflatten(-1, (2, 2)).mean(-1).unsqueeze(1).squeeze(1),
    "differences": lambda m, z: torch.diff(z, dim=2, prepend=torch.zeros_like(z[..., :1])),
    "differences over channels": lambda m, z: torch.diff(z, dim=1),
    "differences of a padded one": lambda m, z: functional.pad(z, (1, 0), value=0.5).diff(),
    "the first sample": lambda m, z: (z[:, :, 0], z[..., :1], z - z[..., :1], z.mT * z.mT[:, 0].sigmoid().unsqueeze(1)),
    "the first sample repeated": lambda m, z: (shifted(z, 2), z.mT - shifted(z.mT, 1)),
    "padding with the first sample": lambda m, z: functional.pad(z, (3, 0), mode="replicate")[..., :-3] - z,
    "stack": lambda m, z: torch.stack([z, -z], dim=1),
    "axes by name": lambda m, z: m.linear(z.mT).mT.swapaxes(1, 2).unsqueeze(1).expand(-1, 2, -1, -1),
    "mean": lambda m, z: z.mean(2),
    "mean, kept": lambda m, z: z.mean(-1, keepdim=True),
    "mean of several axes": lambda m, z: (z.mean((1, 2)), z.mean((1, 2), keepdim=True)),
    "mean of a view": lambda m, z: z.transpose(1, 2).unflatten(-1, (2, 2)).mean((1, 3)),
    "mean in double": lambda m, z: z.double().mean(2).float(),
    "function of means": lambda m, z: (z.square().mean(2) - z.mean(2).square()).sqrt() @ m.linear.weight,
    "several outputs": lambda m, z: (z, m.linear(z.mean(2)), z.transpose(1, 2)),
    "layer used twice": lambda m, z: m.layer(m.layer(z)[0])[0].mean(2),
}


@pytest.mark.parametrize("name", slow_but(list(ACCEPTED)[::8], ACCEPTED))
def test_blocks_give_the_whole_answer(name: str) -> None:
    assert_streams(ACCEPTED[name])


def test_running_answers_are_the_answers_so_far() -> None:
    torch.manual_seed(3)
    model = DigitClassifier(4, 6, 2, classes=3).eval()
    form = traced(model, 1, (1, 5, 1))
    module = to_streaming(form, RULES)
    pixels = torch.randn(2, 10, 1)
    states = module.initial_states(2)
    for k in range(10):
        answer, *states = module(pixels[:, k : k + 1], *states)
        with torch.no_grad():
            torch.testing.assert_close(answer, model(pixels[:, : k + 1]), rtol=1e-4, atol=1e-5)


def test_states_are_named_after_their_layers() -> None:
    module = to_streaming(traced(DigitClassifier(4, 6, 2, classes=3).eval(), 1, (1, 5, 1)), RULES)
    assert [(s.name, s.shape) for s in module.states] == [("layers.0", (6, 4)), ("layers.1", (6, 4)), ("mean", (9,))]
    assert (module.states[0].input_name, module.states[0].output_name) == ("state.layers.0", "next.layers.0")
    twice = to_streaming(traced(tail(ACCEPTED["layer used twice"])), RULES)
    names = [state.name for state in twice.states]
    assert len(set(names)) == len(names) == 4
    # Samples seen so far, the mean, and what rounding cut off it.
    assert module.initial_states(2)[2].shape == (2, 9)


def test_tokens_and_further_inputs() -> None:
    class TwoInputs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = tail(lambda m, z: z)

        def forward(self, tokens: Tensor, loudness: Tensor) -> Tensor:
            z = self.inner.table(tokens).transpose(1, 2) * loudness.transpose(1, 2)
            return self.inner(z).mean(2)

    torch.manual_seed(4)
    model = TwoInputs().eval()
    inputs = [InputAxes("tokens", 1, torch.zeros(1, 5, dtype=torch.int64)), InputAxes("loudness", 1, torch.zeros(1, 5, 1))]
    form = trace(replaced(model), inputs)
    u = (torch.randint(0, 5, (2, 12)), torch.rand(2, 12, 1))
    (actual,) = streamed(to_streaming(form, RULES), form, u, (1, 1), [4, 1, 7])
    with torch.no_grad():
        torch.testing.assert_close(actual, model(*u), rtol=1e-4, atol=1e-5)


def test_running_mean_is_exact_to_rounding_after_many_samples() -> None:
    class Mean(nn.Module):
        def forward(self, u: Tensor) -> Tensor:
            return u.mean(1)

    module = to_streaming(trace(Mean(), [InputAxes("u", 1, torch.zeros(1, 5, 1))]), RULES)
    u = 1 + torch.rand(4, 6000, 1, generator=torch.Generator().manual_seed(0))
    (state,) = module.initial_states(4)
    for k in range(u.shape[1]):
        answer, state = module(u[:, k : k + 1], state)
    exact = u.double().mean(1)
    # Without compensation the error is four times the bound.
    assert ((answer - exact).abs() / exact).max() <= 2 * torch.finfo(torch.float32).eps
