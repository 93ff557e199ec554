"""Layers of every library in the same residual network."""

from __future__ import annotations

from collections.abc import Callable

import LRU_pytorch  # type: ignore[import-untyped]  # ships no types
import s5  # type: ignore[import-untyped]  # ships no types
import torch
from torch import Tensor, nn

from models.activity.model import LRU
from models.digits.model import S4D
from models.sysid.model import LRU as QuadraticLRU
from ssm2edge.layers import S5
from tests.published_s4 import FFTConv, S4Block
from zoo.case import LENGTH, WIDTH, Case, TimeMajor, network


class LongConvolution(nn.Module):
    """A depthwise filter as long as its sequences, with taps that die away."""

    def __init__(self, taps: int = 80) -> None:
        super().__init__()
        self.taps = taps
        self.conv = nn.Conv1d(WIDTH, WIDTH, taps, groups=WIDTH, padding=taps - 1)
        decay = torch.exp(-0.15 * torch.arange(taps)) * torch.cos(0.4 * torch.arange(taps))
        self.conv.weight.data = (torch.randn(WIDTH, 1, 1) * decay).flip(-1)

    def forward(self, z: Tensor) -> Tensor:
        return self.conv(z.transpose(1, 2))[..., : z.shape[1]].transpose(1, 2)  # type: ignore[no-any-return]  # a module


def last(m: nn.Module, z: Tensor) -> Tensor:
    """The hidden sequence."""
    return z


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "S4D": lambda: TimeMajor(S4D(WIDTH, 6)),
    "S4D, not transposed": lambda: FFTConv(WIDTH, 8, transposed=False, activation="id"),
    "S4 DPLR": lambda: FFTConv(WIDTH, 8, rank=1, transposed=False),
    "S4 block": lambda: S4Block(WIDTH, d_state=8, rank=1, transposed=False),
    "S4 block, diagonal, two channels": lambda: S4Block(WIDTH, d_state=8, channels=2, transposed=False),
    "S4 block, gate and bottleneck": lambda: S4Block(WIDTH, d_state=8, gate=2, bottleneck=2, transposed=False),
    "S4D, tied poles": lambda: FFTConv(WIDTH, 8, sets=1, transposed=False),
    "S4D, bilinear, real": lambda: FFTConv(WIDTH, 4, disc="bilinear", is_real=True, transposed=False),
    "S5": lambda: S5(WIDTH, 4),
    "s5-pytorch": lambda: s5.S5(WIDTH, 4),
    "s5-pytorch block": lambda: s5.S5Block(WIDTH, 4, False),
    "LRU": lambda: LRU(WIDTH, 6),
    "LRU with quadratic outputs": lambda: QuadraticLRU(WIDTH, 6, 2),
    "lru-pytorch": lambda: LRU_pytorch.LRU(WIDTH, WIDTH, 4, rmin=0.5, rmax=0.9),
    "long convolution": LongConvolution,
}
TWO_WAYS: dict[str, Callable[[], nn.Module]] = {
    "s5-pytorch block, two ways": lambda: s5.S5Block(WIDTH, 4, True),
    "S4 block, two ways": lambda: S4Block(WIDTH, d_state=8, bidirectional=True, transposed=False),
}


def first_of(made: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """Layers that answer with a tuple, as they are called in a network."""

    class First(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = made()

        def forward(self, z: Tensor) -> Tensor:
            y = self.inner(z)
            return y[0] if isinstance(y, tuple) else y  # type: ignore[no-any-return]  # a module

    return First


CASES = {
    **{f"library: {name}": Case(network(last, first_of(made))) for name, made in LAYERS.items()},
    **{f"library: {name}": Case(network(last, first_of(made)), streams=False) for name, made in TWO_WAYS.items()},
}
assert LENGTH < 80
