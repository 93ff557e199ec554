"""Front ends: convolutions, strides, frames, patches, pooling, and U-shaped networks."""

from __future__ import annotations

from typing import Any

import torch
from einops import rearrange
from einops.layers.torch import Rearrange
from torch import Tensor, nn

from zoo.case import BATCH, FEATURES, LENGTH, WIDTH, Case, bank, plain, signal

functional = nn.functional


def channels_first() -> Tensor:
    """A signal ``(batch, channels, time)``."""
    return signal(BATCH, FEATURES, LENGTH)


def convolution(taps: int, **options: Any) -> Any:
    """Factory of a convolution."""
    return lambda: nn.Conv1d(FEATURES, WIDTH, taps, **options)


class CausalConv1d(nn.Conv1d):
    """A convolution that cuts off what looks ahead."""

    def __init__(self, inputs: int, outputs: int, taps: int, dilation: int = 1) -> None:
        super().__init__(inputs, outputs, taps, padding=(taps - 1) * dilation, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y[..., : x.shape[-1]]


class Mamba(nn.Module):
    """A short convolution and a gate around the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.out, self.bank = nn.Linear(FEATURES, 2 * WIDTH), nn.Linear(WIDTH, WIDTH), bank()
        self.conv = nn.Conv1d(WIDTH, WIDTH, 4, groups=WIDTH, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        z, gate = self.into(x).chunk(2, dim=-1)
        z = rearrange(self.conv(rearrange(z, "b l d -> b d l"))[..., : x.shape[1]], "b d l -> b l d")
        return self.out(self.bank(functional.silu(z)) * functional.silu(gate))  # type: ignore[no-any-return]  # a module


class UShaped(nn.Module):
    """Halves the rate, runs a layer there, and doubles it again, causally."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.outer, self.inner = nn.Linear(FEATURES, WIDTH), bank(), bank(2 * WIDTH)
        self.down, self.up = nn.Linear(2 * WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, 2 * WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        z = self.outer(self.encoder(x))
        y = self.down(rearrange(z, "b (l s) d -> b l (d s)", s=2))
        y = self.up(self.inner(y))
        y = functional.pad(y, (0, 0, 1, 0))[:, :-1]
        return z + rearrange(y, "b l (d s) -> b (l s) d", s=2)  # type: ignore[no-any-return]  # einops


def spectrogram(m: Any, x: Tensor) -> Tensor:
    """Magnitudes of a short-time Fourier transform, frames without padding."""
    frames = x.unfold(1, 8, 4) * m.window
    return m.bank(m.mix(torch.fft.rfft(frames).abs()))  # type: ignore[no-any-return]  # a module


def centred(m: Any, x: Tensor) -> Tensor:
    """The transform of the library, frames centred."""
    found = torch.stft(x, 8, 4, window=m.window, return_complex=True)
    return m.bank(m.mix(found.abs().mT))  # type: ignore[no-any-return]  # a module


def mix(inputs: int) -> Any:
    """Factory of a linear map to the layer's width."""
    return lambda: nn.Linear(inputs, WIDTH)


CASES = {
    "front: convolution, same": Case(
        plain(lambda m, x: m.bank(m.conv(x).mT), conv=convolution(5, padding=2)), channels_first, {"time_axis": 2}, streams=False
    ),
    "front: convolution, causal": Case(
        plain(lambda m, x: m.bank(m.conv(functional.pad(x, (4, 0))).mT), conv=convolution(5)), channels_first, {"time_axis": 2}
    ),
    "front: convolution, cut": Case(
        plain(lambda m, x: m.bank(m.conv(x.mT).mT), conv=lambda: CausalConv1d(FEATURES, WIDTH, 3, 2))
    ),
    "front: convolution, strided": Case(
        plain(lambda m, x: m.bank(m.conv(functional.pad(x.mT, (2, 0))).mT), conv=convolution(4, stride=2))
    ),
    "front: convolution, strided, channels first": Case(
        plain(
            lambda m, x: m.bank(functional.gelu(m.conv(functional.pad(x, (2, 0)))).transpose(1, 2)), conv=convolution(4, stride=2)
        ),
        channels_first,
        {"time_axis": 2},
    ),
    "front: patches by convolution": Case(plain(lambda m, x: m.bank(m.conv(x.mT).mT), conv=convolution(4, stride=4))),
    "front: patches by reshape": Case(
        plain(lambda m, x: m.bank(m.mix(x.reshape(x.shape[0], -1, 4 * FEATURES))), mix=mix(4 * FEATURES))
    ),
    "front: patches by einops": Case(
        plain(
            lambda m, x: m.bank(m.mix(m.patches(x))),
            patches=lambda: Rearrange("b (t p) c -> b t (p c)", p=4),
            mix=mix(4 * FEATURES),
        )
    ),
    "front: patches by unflatten": Case(
        plain(lambda m, x: m.bank(m.mix(torch.unflatten(x, 1, (-1, 4)).flatten(2))), mix=mix(4 * FEATURES))
    ),
    "front: average pooling": Case(plain(lambda m, x: m.bank(m.mix(functional.avg_pool1d(x.mT, 2).mT)), mix=mix(FEATURES))),
    "front: maximum pooling": Case(plain(lambda m, x: m.bank(m.mix(functional.max_pool1d(x.mT, 2).mT)), mix=mix(FEATURES))),
    "front: decimated": Case(plain(lambda m, x: m.bank(m.mix(x[:, ::2])), mix=mix(FEATURES))),
    "front: neighbours joined": Case(
        plain(lambda m, x: m.bank(m.mix(torch.cat((x, functional.pad(x, (0, 0, 1, 0))[:, :-1]), -1))), mix=mix(2 * FEATURES))
    ),
    "front: windows by unfold": Case(plain(lambda m, x: m.bank(m.mix(x.unfold(1, 4, 4).flatten(2))), mix=mix(4 * FEATURES))),
    "front: spectra of frames": Case(
        plain(spectrogram, mix=mix(5), window=lambda: nn.Buffer(torch.hann_window(8))),
        lambda: signal(BATCH, LENGTH),
        streams=False,
    ),
    "front: spectra of padded frames": Case(
        plain(lambda m, x: spectrogram(m, functional.pad(x, (4, 0))), mix=mix(5), window=lambda: nn.Buffer(torch.hann_window(8))),
        lambda: signal(BATCH, LENGTH),
    ),
    "front: stft": Case(
        plain(centred, mix=mix(5), window=lambda: nn.Buffer(torch.hann_window(8))), lambda: signal(BATCH, LENGTH), streams=False
    ),
    "front: samples merged with the batch": Case(
        plain(
            lambda m, x: m.bank(rearrange(m.mix(rearrange(x, "b t c -> (b t) c")), "(b t) c -> b t c", b=x.shape[0])),
            mix=mix(FEATURES),
        )
    ),
    "front: image rows": Case(
        plain(
            lambda m, x: m.bank(m.mix(m.conv(x[:, None]).transpose(1, 2).flatten(2))),
            conv=lambda: nn.Conv2d(1, 2, (1, 3), padding=(0, 1)),
            mix=mix(2 * FEATURES),
        )
    ),
    "front: a map of two axes, causal": Case(
        plain(
            lambda m, x: m.bank(m.mix(m.conv(functional.pad(x[:, None], (1, 1, 2, 0))).transpose(1, 2).flatten(2))),
            conv=lambda: nn.Conv2d(1, 2, (3, 3)),
            mix=mix(2 * FEATURES),
        )
    ),
    "front: short convolution and gate": Case(Mamba),
    "front: U-shaped": Case(UShaped),
    "front: learned positions": Case(
        plain(
            lambda m, x: m.bank(m.mix(x) + m.positions[:, : x.shape[1]]),
            mix=mix(FEATURES),
            positions=lambda: nn.Parameter(torch.randn(1, LENGTH, WIDTH)),
        )
    ),
    "front: sines of positions": Case(
        plain(
            lambda m, x: m.bank(m.mix(x) + torch.sin(torch.arange(x.shape[1])[:, None] * m.rates)),
            mix=mix(FEATURES),
            rates=lambda: nn.Buffer(torch.rand(WIDTH)),
        )
    ),
}
