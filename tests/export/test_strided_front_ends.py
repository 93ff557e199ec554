"""Strided causal convolutions in front of (batch, time, channels) layers: the usual front end of speech models."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from models.digits.model import S4D
from models.spoken_waveform.model import make
from ssm2edge.export.streaming import RULES, to_streaming
from ssm2edge.traced.running import run_program
from tests.block_by_block import streamed
from tests.slow_cases import slow_but
from tests.small_models import traced

functional = nn.functional
WIDTH = 6


class FrontEnd(nn.Module):
    """Convolutions over time behind zeros, channels first; then a linear layer and an S4D layer, time first."""

    def __init__(self, kernels: list[int], strides: list[int], between: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        widths = [2, *[WIDTH] * len(kernels)]
        self.convolutions = nn.ModuleList(
            nn.Conv1d(before, after, kernel, stride)
            for before, after, kernel, stride in zip(widths[:-1], widths[1:], kernels, strides, strict=True)
        )
        self.norm, self.linear, self.layer = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH), S4D(WIDTH, 4)
        self.between = between

    def forward(self, u: Tensor) -> Tensor:
        z = u.mT
        for convolution in self.convolutions:
            z = self.between(convolution(functional.pad(z, (convolution.kernel_size[0] - 1, 0))))
        z = self.linear(self.norm(z.mT))
        return z + self.layer(z.mT)[0].mT


FRONT_ENDS: dict[str, tuple[list[int], list[int], Callable[[Tensor], Tensor]]] = {
    "one": ([3], [2], torch.relu),
    "two": ([3, 3], [2, 2], torch.relu),
    "two, the second of one sample": ([5, 1], [2, 2], torch.tanh),
    "by three": ([3, 3], [3, 3], torch.relu),
    "three, gelu": ([5, 4, 3], [2, 2, 2], functional.gelu),
    "copied": ([3, 3], [2, 2], torch.Tensor.contiguous),
}


@pytest.mark.parametrize("name", slow_but(("two",), FRONT_ENDS))
def test_strided_front_ends_hold_for_all_lengths_and_stream(name: str) -> None:
    torch.manual_seed(0)
    kernels, strides, between = FRONT_ENDS[name]
    model = FrontEnd(kernels, strides, between).eval()
    form = traced(model, 1, (1, 5, 2))
    assert (form.multiple, form.shortest) == (1, 1)
    for batch, length in ((1, 1), (2, 2), (2, 5), (1, 17), (3, 64)):
        u = torch.randn(batch, length, 2)
        with torch.no_grad():
            (found,) = next(reversed(run_program(form.program, [u]).values()))
            torch.testing.assert_close(found, model(u), rtol=1e-4, atol=1e-5)
    module = to_streaming(form, RULES)
    frame = torch.tensor(strides).prod().item()
    assert module.frame == frame
    u = torch.randn(2, 12 * module.frame, 2)
    with torch.no_grad():
        whole = model(u)
        for cuts in ([1] * 12, [1, 4, 7], [12]):
            (found,) = streamed(module, form, (u,), (1,), [module.frame * size for size in cuts])
            torch.testing.assert_close(found, whole, rtol=1e-4, atol=1e-5)


class Patches(FrontEnd):
    """The same without zeros before it, and pooled, as classifiers of waveforms are."""

    def forward(self, u: Tensor) -> Tensor:
        z = u.mT
        for convolution in self.convolutions:
            z = self.between(convolution(z))
        z = self.linear(self.norm(z.mT))
        return (z + self.layer(z.mT)[0].mT).mean(1)


@pytest.mark.parametrize(
    ("kernels", "strides"), [([20], [20]), ([40], [20]), ([320], [320]), ([10, 4], [10, 4])],
    ids=["patches", "overlapping", "longer than the example", "patches of patches"],
)  # fmt: skip
def test_patches_longer_than_the_traced_example_hold_for_all_lengths(kernels: list[int], strides: list[int]) -> None:
    torch.manual_seed(0)
    model = Patches(kernels, strides, torch.tanh).eval()
    form = traced(model, 1, (1, 800, 2))
    patch = kernels[0] if len(kernels) == 1 else 40
    assert (form.multiple, form.shortest, form.length) == (1, patch, None)
    for batch, length in ((1, patch), (2, 2 * patch), (2, 2 * patch + 1), (1, 2000)):
        u = torch.randn(batch, length, 2)
        with torch.no_grad():
            (found,) = next(reversed(run_program(form.program, [u]).values()))
            torch.testing.assert_close(found, model(u), rtol=1e-4, atol=1e-5)
    if kernels == strides:
        module = to_streaming(form, RULES)
        assert module.frame == patch
        u = torch.randn(2, 6 * patch, 2)
        with torch.no_grad():
            (found,) = streamed(module, form, (u,), (1,), [patch, 2 * patch, 3 * patch])
            torch.testing.assert_close(found, model(u), rtol=1e-4, atol=1e-5)


def test_a_classifier_of_waveforms_holds_for_all_lengths_and_streams() -> None:
    torch.manual_seed(0)
    model = make(bands=4, channels=8, states=8, layers=1).eval()
    form = traced(model, 1, (1, 800, 1))
    assert (form.multiple, form.shortest, form.length) == (1, 20, None)
    module = to_streaming(form, RULES)
    assert module.frame == 20
    u = 0.1 * torch.randn(2, 200, 1)
    with torch.no_grad():
        (found,) = streamed(module, form, (u,), (1,), [20, 60, 120])
        torch.testing.assert_close(found, model(u), rtol=1e-4, atol=1e-5)
        (found,) = next(reversed(run_program(form.program, [u[:, :39]]).values()))
        torch.testing.assert_close(found, model(u[:, :39]), rtol=1e-4, atol=1e-5)
