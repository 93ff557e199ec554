"""Convolutions over time, however the padding is written, keep the samples they still need and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ssm2edge.traced import StreamingError
from tests.block_by_block import assert_streams, streaming_form
from tests.slow_cases import slow_but
from tests.small_models import CHANNELS, Tail

functional = nn.functional


class Convolutions(Tail):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self.padded = nn.Conv1d(CHANNELS, 6, 3, padding=2)
        self.plain = nn.Conv1d(CHANNELS, CHANNELS, 4)
        self.dilated = nn.Conv1d(CHANNELS, CHANNELS, 3, dilation=5, padding=10)
        self.depthwise = nn.Conv1d(CHANNELS, CHANNELS, 4, groups=CHANNELS, padding=3)
        self.grouped = nn.Conv1d(CHANNELS, 2 * CHANNELS, 3, groups=2)
        self.strided = nn.Conv1d(CHANNELS, CHANNELS, 4, stride=4)
        self.overlapping = nn.Conv1d(CHANNELS, CHANNELS, 5, stride=2, padding=4)
        self.sparse = nn.Conv1d(CHANNELS, CHANNELS, 1, stride=3)
        self.up = nn.ConvTranspose1d(CHANNELS, 5, 4, stride=2)
        self.up_dilated = nn.ConvTranspose1d(CHANNELS, CHANNELS, 3, stride=2, dilation=3, groups=2)
        self.up_sparse = nn.ConvTranspose1d(CHANNELS, CHANNELS, 1, stride=2)
        self.single = nn.Conv1d(1, 1, 3, padding=2)
        self.single_dilated = nn.Conv1d(1, 2, 2, dilation=3)
        self.plane = nn.Conv2d(1, 2, (3, 3))
        self.plane_strided = nn.Conv2d(1, 2, (CHANNELS, 2), stride=(1, 2), padding=(0, 1))
        self.space = nn.Conv3d(1, 1, (2, 1, 1))
        self.up_extended = nn.ConvTranspose1d(CHANNELS, CHANNELS, 2, stride=2, output_padding=1)

    def forward(self, u: Tensor) -> Any:
        return self.function(self, u)


def joined(z: Tensor) -> Tensor:
    return z.reshape(-1, 1, z.shape[-1])


def apart(y: Tensor, z: Tensor) -> Tensor:
    return y.reshape(z.shape[0], CHANNELS, -1)


def convolutions(function: Callable[..., Any]) -> Convolutions:
    torch.manual_seed(0)
    return Convolutions(function).eval()


STREAMING: dict[str, Callable[[Any, Tensor], Any]] = {
    "padding cut off behind": lambda m, z: m.padded(z)[..., :-2],
    "cut to the length": lambda m, z: m.padded(z)[:, :, : z.shape[-1]],
    "cut by narrow": lambda m, z: m.padded(z).narrow(2, 0, z.shape[2]),
    "pad before": lambda m, z: m.plain(functional.pad(z, (3, 0))),
    "pad with a constant": lambda m, z: m.plain(functional.pad(z, (3, 0), value=0.7)),
    "pad by joining": lambda m, z: m.plain(torch.cat([z.new_zeros(z.shape[0], CHANNELS, 3), z], dim=2)),
    "pad by joining likes": lambda m, z: m.plain(torch.cat([torch.zeros_like(z[:, :, :3]), z], dim=2)),
    "pad on another axis too": lambda m, z: functional.pad(z, (3, 0, 1, 1))[:, :, :-3],
    "too much padding": lambda m, z: m.plain(functional.pad(z, (7, 5)))[:, :, : z.shape[2]],
    "dilated": lambda m, z: m.dilated(z)[..., :-10],
    "depthwise": lambda m, z: functional.silu(m.depthwise(z)[..., : z.shape[-1]]),
    "grouped": lambda m, z: m.grouped(functional.pad(z, (2, 0))),
    "weights by function": lambda m, z: functional.conv1d(functional.pad(z, (2, 0)), m.wide.weight),
    "two in a row": lambda m, z: m.plain(functional.pad(m.padded(z)[:, :4, :-2].relu(), (3, 0))),
    "padding after a bias": lambda m, z: m.plain(m.linear(functional.pad(z, (3, 0)).transpose(1, 2)).transpose(1, 2)),
    "residual": lambda m, z: z + m.depthwise(z)[..., :-3],
    "pooled": lambda m, z: m.depthwise(z)[..., :-3].mean(2),
    "into a layer": lambda m, z: m.layer(m.depthwise(z)[..., :-3])[0],
    "shifted": lambda m, z: z - functional.pad(z, (1, 0))[..., :-1],
    "shifted by joining": lambda m, z: torch.cat([torch.zeros_like(z[:, :, :1]), z[:, :, :-1]], 2) * z,
    "shift and constant": lambda m, z: functional.pad(z, (4, 0), value=2.0)[..., :-4].exp(),
    "strided": lambda m, z: m.strided(z),
    "strided and pooled": lambda m, z: m.strided(z).mean(2),
    "strided, overlapping": lambda m, z: m.overlapping(z)[..., : z.shape[2] // 2],
    "strided twice": lambda m, z: m.strided(m.strided(z)),
    "sparse": lambda m, z: m.sparse(z),
    "down and up": lambda m, z: m.up(m.overlapping(z)[..., : z.shape[2] // 2])[..., : z.shape[2]],
    "every channel alone": lambda m, z: apart(m.single(joined(z))[..., : z.shape[2]], z),
    "every channel alone, dilated": lambda m, z: apart(m.single_dilated(functional.pad(joined(z), (3, 0)))[:, 1:], z),
    "every channel alone, twice": lambda m, z: apart(m.single(m.single(joined(z))[..., : z.shape[2]])[..., : z.shape[2]], z),
    "every channel alone, beside itself": lambda m, z: apart(
        joined(z) + m.single_dilated(functional.pad(joined(z), (3, 0)))[:, :1], z
    ),
    "every channel alone, after constants": lambda m, z: apart(
        m.single(joined(functional.pad(z, (2, 0)) + torch.arange(1.0, CHANNELS + 1)[:, None]))[..., : z.shape[2]], z
    ),
    "a plane": lambda m, z: m.plane(functional.pad(z[:, None], (2, 0, 1, 1))).flatten(1, 2),
    "a plane, time first": lambda m, z: m.plane(functional.pad(z.mT[:, None], (1, 1, 2, 0))).permute(0, 1, 3, 2).flatten(1, 2),
    "a plane, strided": lambda m, z: m.plane_strided(z[:, None])[..., : z.shape[2] // 2].squeeze(2),
    "three axes": lambda m, z: m.space(functional.pad(z.mT[:, None, :, :, None], (0, 0, 0, 0, 1, 0)))[:, 0, :, :, 0].mT,
    "up": lambda m, z: m.up(z)[..., :-2],
    "up, with gaps": lambda m, z: m.up_sparse(functional.pad(z, (1, 0)))[..., 1:],
    "up, dilated": lambda m, z: m.up_dilated(z)[..., : 2 * z.shape[2]],
}


@pytest.mark.parametrize("name", slow_but(list(STREAMING)[::8], STREAMING))
def test_blocks_give_the_whole_answer(name: str) -> None:
    assert_streams(STREAMING[name], convolutions, steps=14)


def test_buffers_hold_what_the_kernel_reaches_back() -> None:
    form = streaming_form(lambda m, z: m.plain(functional.pad(m.dilated(z)[..., :-10], (3, 0))), convolutions)
    assert [(s.name, s.shape) for s in form.states] == [("dilated", (CHANNELS, 10)), ("plain", (CHANNELS, 3))]


def test_one_sample_windows_keep_nothing() -> None:
    assert streaming_form(lambda m, z: m.strided(z), convolutions).states == ()
    assert streaming_form(lambda m, z: m.strided(m.strided(z)), convolutions).frame == 16


REFUSED: dict[str, tuple[str, str, Callable[[Any, Tensor], Any]]] = {
    "same padding": ("aten.conv1d", "looks ahead", lambda m, z: m.wide(z)),
    "same padding by name": ("aten.conv1d", "looks ahead", lambda m, z: functional.conv1d(z, m.wide.weight, padding="same")),
    "no padding": ("aten.conv1d", "cuts off 3 samples", lambda m, z: m.plain(z)),
    "padding not cut off": ("aten.conv1d", "adds 2 samples", lambda m, z: m.padded(z)),
    "the wrong end cut off": ("aten.conv1d", "looks ahead", lambda m, z: m.padded(z)[..., 2:]),
    "looked ahead, then pooled": ("aten.conv1d", "looks ahead", lambda m, z: m.wide(z).relu().mean(2)),
    "looked ahead, then a layer": ("aten.conv1d", "looks ahead", lambda m, z: m.layer(m.wide(z))[0]),
    "looked ahead, then residual": ("aten.conv1d", "looks ahead", lambda m, z: z + m.wide(z)),
    "shifted to the left": ("aten.slice", "looks ahead", lambda m, z: functional.pad(z[..., 1:], (0, 1))),
    "padded too late": ("aten.conv1d", "come after", lambda m, z: functional.pad(m.plain(z), (3, 0))),
    "replicated": ("aten.pad", "mixes", lambda m, z: m.plain(functional.pad(z, (3, 0), mode="replicate"))),
    "the end overwritten": ("aten.slice", "looks ahead", lambda m, z: functional.pad(z[..., :-1], (0, 1))),
    "the end joined on": ("aten.slice", "looks ahead", lambda m, z: torch.cat([z[..., :-1], torch.zeros_like(z[..., :1])], 2)),
    "the end padded away": ("aten.conv1d", "looks ahead", lambda m, z: m.wide(functional.pad(z[..., :-1], (1, 0)))[..., :]),
    "up, centred": ("aten.conv_transpose1d", "looks ahead", lambda m, z: m.up(z)[..., 1:-1]),
    "up, not cut off": ("aten.conv_transpose1d", "adds", lambda m, z: m.up(z)),
    "up, extended by a bias": ("aten.conv_transpose1d", "mixes", lambda m, z: m.up_extended(z)[..., : 2 * z.shape[2]]),
}


@pytest.mark.parametrize("name", slow_but(list(REFUSED)[::4], REFUSED))
def test_what_looks_ahead_is_refused_where_it_first_does(name: str) -> None:
    operation, reason, function = REFUSED[name]
    with pytest.raises(StreamingError, match=reason) as caught:
        streaming_form(function, convolutions)
    assert f"the operation {operation}" in str(caught.value)
