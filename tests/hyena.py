"""Hyena stated anew, with the published names: an operator of products and filters whose taps a network computes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Sine(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.freq = nn.Parameter(torch.ones(1, width))

    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(self.freq * x)


class PositionalEmbedding(nn.Module):
    """Time from 0 to 1, and its first waves."""

    def __init__(self, emb_dim: int, seq_len: int) -> None:
        super().__init__()
        time = torch.linspace(0, 1, seq_len)[None, :, None]
        waves = [f(2 * torch.pi * n * time) for n in range(1, (emb_dim - 1) // 2 + 1) for f in (torch.cos, torch.sin)]
        self.z = nn.Parameter(torch.cat([time, *waves], -1))
        self.register_buffer("t", time)

    def forward(self, L: int) -> tuple[Tensor, Tensor]:
        return self.z[:, :L], self.t[:, :L]


class ExponentialModulation(nn.Module):
    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.register_buffer("deltas", torch.linspace(3.0, 15.0, d_model)[None, None])

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return x * torch.exp(-t * self.deltas.abs())


def convolved(u: Tensor, k: Tensor, D: Tensor) -> Tensor:
    """Sums over lags, the axis of channels in front of time or, with heads and blocks, in front of the blocks."""
    y = u.double() * D.double().unsqueeze(-1)
    k = k if u.ndim == 3 else k.unsqueeze(1)
    for lag in range(u.shape[-1]):
        y[..., lag:] = y[..., lag:] + k.double()[..., lag, None] * u.double()[..., : u.shape[-1] - lag]
    return y.to(u.dtype)


class HyenaFilter(nn.Module):
    def __init__(
        self, d_model: int, emb_dim: int = 5, order: int = 8, seq_len: int = 64, use_bias: bool = True, in_tuple: bool = False
    ) -> None:
        super().__init__()
        self.d_model, self.seq_len, self.use_bias, self.in_tuple = d_model, seq_len, use_bias, in_tuple
        self.bias = nn.Parameter(torch.randn(d_model))
        self.pos_emb = PositionalEmbedding(emb_dim, seq_len)
        self.implicit_filter = nn.Sequential(
            nn.Linear(emb_dim, order), Sine(order), nn.Linear(order, order), Sine(order), nn.Linear(order, d_model, bias=False)
        )
        self.modulation = ExponentialModulation(d_model)

    def filter(self, L: int, *_: Any, **__: Any) -> Any:
        z, t = self.pos_emb(L)
        taps = self.modulation(t, self.implicit_filter(z))
        return (taps, None) if self.in_tuple else taps

    def forward(self, x: Tensor, L: int, k: Any = None, bias: Tensor | None = None, *_: Any, **__: Any) -> Tensor:
        if k is None:
            k = self.filter(L)
            k = (k[0] if isinstance(k, tuple) else k)[0].mT
        bias = self.bias if bias is None else bias
        return convolved(x, k, bias if self.use_bias else 0 * bias)


class HyenaOperator(nn.Module):
    """``heads`` carries signals as (batch, head, channel, block, time), as the complete version does."""

    def __init__(
        self, d_model: int, l_max: int, order: int = 2, heads: bool = False, channels_first: bool = False, **filter: Any
    ) -> None:
        super().__init__()
        self.d_model, self.l_max, self.order, self.heads, self.channels_first = d_model, l_max, order, heads, channels_first
        inner = d_model * (order + 1)
        self.in_proj, self.out_proj, self.dropout = nn.Linear(d_model, inner), nn.Linear(d_model, d_model), nn.Dropout(0.1)
        self.short_filter = nn.Conv1d(inner, inner, 3, padding=2, groups=inner)
        self.filter_fn = HyenaFilter(d_model * (order - 1), seq_len=l_max, **filter)

    def forward(self, u: Tensor, *_: Any, **__: Any) -> Tensor:
        length = u.size(-2)
        l_filter = min(length, self.l_max)
        uc = self.short_filter(self.in_proj(u).transpose(1, 2))[..., :l_filter]
        if self.heads:
            uc = uc[:, None, :, None]
        *x, v = uc.split(self.d_model, dim=2 if self.heads else 1)
        k = self.filter_fn.filter(l_filter)
        k = (k[0] if isinstance(k, tuple) else k)[0]
        if self.channels_first:
            # Channel by channel, the uses of each one after the other.
            k = k.reshape(l_filter, self.d_model, self.order - 1).permute(2, 1, 0)
            bias = self.filter_fn.bias.reshape(self.d_model, self.order - 1).T
        else:
            k = k.reshape(l_filter, self.order - 1, self.d_model).permute(1, 2, 0)
            bias = self.filter_fn.bias.reshape(self.order - 1, self.d_model)
        for o, x_i in enumerate(reversed(x[1:])):
            v = self.dropout(v * x_i)
            v = self.filter_fn(v, l_filter, k=k[o], bias=bias[o, None, :, None] if self.heads else bias[o])
        y = v * x[0]
        y = y[:, 0, :, 0] if self.heads else y
        return self.out_proj(y.transpose(1, 2))


class Model(nn.Module):
    """Residual stack of operators; ``shared`` uses one twice."""

    def __init__(self, width: int = 4, depth: int = 1, shared: bool = False, **operator: Any) -> None:
        super().__init__()
        self.encoder, self.decoder, self.norm = nn.Linear(2, width), nn.Linear(width, 3), nn.LayerNorm(width)
        self.blocks = nn.ModuleList(HyenaOperator(width, **operator) for _ in range(depth))
        if shared:
            self.blocks.append(self.blocks[0])

    def forward(self, samples: Tensor) -> Tensor:
        z = self.encoder(samples)
        for block in self.blocks:
            z = z + block(self.norm(z))
        return self.decoder(z)
