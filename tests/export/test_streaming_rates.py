"""Models that change the rate of time stream in blocks of whole frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models.digits.model import S4D
from ssm2edge.export import export_stream
from ssm2edge.export.streaming import RULES, to_streaming
from ssm2edge.traced import ExportError, StreamingError
from tests.block_by_block import assert_streams, streaming_form
from tests.slow_cases import slow_but
from tests.small_models import CHANNELS, Tail, tail, traced

functional = nn.functional


class Pyramid(nn.Module):
    """A SaShiMi-like stack: frames of four samples through a layer at a quarter of the rate, shifted by one frame, and back."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.above, self.below, self.inner = S4D(CHANNELS, 6), S4D(CHANNELS, 5), S4D(8, 6)
        self.down = nn.Linear(4 * CHANNELS, 8)
        self.up = nn.Linear(8, 4 * CHANNELS)
        self.function = function

    def forward(self, u: Tensor) -> Any:
        z = self.above(u)[0]
        frames = z.reshape(z.shape[0], CHANNELS, z.shape[2] // 4, 4).transpose(2, 3).reshape(z.shape[0], 4 * CHANNELS, -1)
        low = self.inner(self.down(frames.mT).mT)[0]
        spread = functional.pad(self.up(low.mT).mT[..., :-1], (1, 0))
        spread = spread.view(z.shape[0], CHANNELS, 4, -1).transpose(2, 3).reshape(z.shape[0], CHANNELS, -1)
        return self.function(self, self.below(z + spread)[0])


def pyramid(function: Callable[..., Any]) -> Pyramid:
    torch.manual_seed(0)
    return Pyramid(function).eval()


RATES: dict[str, tuple[int, Callable[[Any, Tensor], Any]]] = {
    "average": (4, lambda m, z: functional.avg_pool1d(z, 4)),
    "average, overlapping": (2, lambda m, z: functional.avg_pool1d(functional.pad(z, (3, 0)), 5, 2)),
    "averages, then a layer": (4, lambda m, z: m.layer(functional.avg_pool1d(functional.avg_pool1d(z, 2), 2))[0].mean(2)),
    "average, padded": (2, lambda m, z: functional.avg_pool1d(z, 4, 2, padding=2)[..., : z.shape[2] // 2]),
    "every third": (3, lambda m, z: (z[:, :, ::3], z[:, :, 2::3])),
    "frames as channels": (4, lambda m, z: z.mT.reshape(z.shape[0], z.shape[2] // 4, 4 * CHANNELS)),
    "frames as an axis": (3, lambda m, z: z.unflatten(2, (-1, 3)).amax(3)),
    "frames of a shifted one": (3, lambda m, z: functional.pad(z, (1, 0))[..., :-1].unflatten(2, (-1, 3)).sum(3)),
    "overlapping frames": (2, lambda m, z: functional.pad(z, (2, 0)).unfold(2, 4, 2).std(3)),
    "repeated": (1, lambda m, z: z.repeat_interleave(3, dim=2)),
    "interpolated": (1, lambda m, z: functional.interpolate(z, scale_factor=2)),
    "interpolated to a size": (1, lambda m, z: functional.interpolate(z, size=2 * z.shape[2])),
    "expanded": (1, lambda m, z: z.unsqueeze(-1).expand(-1, -1, -1, 4).reshape(z.shape[0], CHANNELS, -1)),
    "stacked": (1, lambda m, z: torch.stack([z, -z], -1).flatten(-2)),
    "down and up": (4, lambda m, z: z + functional.avg_pool1d(z, 4).repeat_interleave(4, 2)),
    "down, shifted and up": (
        4,
        lambda m, z: z.unflatten(2, (-1, 4)).flip(3).flatten(2) * functional.pad(z[..., ::4][..., :-1], (1, 0), value=0.5)
        .repeat_interleave(4, 2).exp(),
    ),
    "every fourth through a linear map": (4, lambda m, z: m.linear(z.mT[:, 3::4])),
    "two rates at once": (6, lambda m, z: (z.unflatten(2, (-1, 6)).mean(3), z[..., ::2].sum(2), z)),
}  # fmt: skip
"""The frame, and a function."""


@pytest.mark.parametrize("name", slow_but(("down, shifted and up",), RATES))
def test_blocks_of_frames_give_the_whole_answer(name: str) -> None:
    frame, function = RATES[name]
    assert assert_streams(function, tail, steps=10).frame == frame


@pytest.mark.slow
def test_pyramids_stream_as_long_as_they_are_shifted() -> None:
    form = assert_streams(lambda m, z: (z, z.mean(2)), pyramid, steps=10)
    assert form.frame == 4
    assert {"above", "inner", "below"} <= {state.name for state in form.states}


def test_blocks_that_are_no_frames_are_refused() -> None:
    form = traced(pyramid(lambda m, z: z))
    with pytest.raises(ExportError, match=r"blocks of 6 samples.*multiple of 4") as caught:
        export_stream(form, 6)
    assert not isinstance(caught.value, StreamingError)


@pytest.mark.slow
def test_lengths_a_model_takes_are_found() -> None:
    assert (traced(pyramid(lambda m, z: z)).multiple, traced(pyramid(lambda m, z: z)).shortest) == (4, 4)
    form = traced(tail(lambda m, z: functional.avg_pool1d(z, 4)))
    assert (form.multiple, form.shortest) == (1, 4)
    form = traced(tail(lambda m, z: functional.pad(z, (1, 0))[..., :-1]))
    assert (form.multiple, form.shortest) == (1, 1)


REFUSED: dict[str, tuple[str, Callable[[Any, Tensor], Any]]] = {
    "rounded up": ("aten.avg_pool1d", lambda m, z: functional.avg_pool1d(z, 4, ceil_mode=True)),
    "padding not counted": ("aten.avg_pool1d", lambda m, z: functional.avg_pool1d(z, 4, 2, 2, count_include_pad=False)),
    "interpolated linearly": ("aten.upsample_linear1d", lambda m, z: functional.interpolate(z, scale_factor=2, mode="linear")),
    "batch and time in one axis": ("aten.reshape", lambda m, z: z.mT.reshape(-1, CHANNELS)),
    "halves of time": ("aten.unflatten", lambda m, z: z.unflatten(2, (2, -1)).mean(2)),
}


@pytest.mark.parametrize("name", slow_but(("rounded up", "halves of time"), REFUSED))
def test_other_changes_of_rate_are_refused(name: str) -> None:
    operation, function = REFUSED[name]
    with pytest.raises(StreamingError) as caught:
        streaming_form(function, tail)
    assert f"the operation {operation}" in str(caught.value)


def test_a_model_without_layers_streams_alike() -> None:
    class Bare(Tail):
        def forward(self, u: Tensor) -> Any:
            return self.function(self, u)

    model = Bare(lambda m, z: functional.pad(z, (2, 0))[..., :-2])
    assert [(s.name, s.shape) for s in to_streaming(traced(model.eval()), RULES).states] == [("delay", (CHANNELS, 2))]
