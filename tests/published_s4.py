"""The layers of state-spaces/s4 stated anew from their documentation, with the same parameter names and module layout.

Nothing here is quick: state matrices are dense and complex, discretised by their definitions, kernels run the recurrence sample
by sample, convolutions are sums.  All of it is in float64; answers are float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

TRANSFORMS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "exp": lambda x: x.exp(),
    "relu": lambda x: x.clamp(min=0) + 1e-4,
    "sigmoid": lambda x: 1 / (1 + (-x).exp()),
    "softplus": lambda x: (1 + x.exp()).log(),
}
INVERSES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "exp": lambda x: x.log(),
    "relu": lambda x: x - 1e-4,
    "sigmoid": lambda x: (x / (1 - x)).log(),
    "softplus": lambda x: (x.exp() - 1).log(),
}


def complex_of(x: Tensor) -> Tensor:
    return torch.view_as_complex(x.double().contiguous())


class SSMKernel(nn.Module):
    """Kernels ``(heads, channels, length)`` of a diagonal state matrix, or with ``rank`` of a low-rank correction of one."""

    def __init__(
        self,
        channels: int,
        modes: int,
        heads: int = 1,
        sets: int | None = None,
        rank: int = 0,
        disc: str = "zoh",
        is_real: bool = False,
        dt_tie: bool = True,
        dt_fast: bool = False,
        dt_transform: str = "exp",
        real_transform: str = "exp",
        imag_transform: str = "none",
        bandlimit: float | None = None,
        l_max: int | None = None,
        frozen: tuple[str, ...] = (),
        **_: Any,
    ) -> None:
        super().__init__()
        sets = channels if sets is None else sets
        self.disc, self.is_real, self.dt_fast, self.bandlimit, self.l_max = disc, is_real, dt_fast, bandlimit, l_max
        self.dt_transform, self.real_transform, self.imag_transform = dt_transform, real_transform, imag_transform
        dt = torch.exp(torch.rand(channels, 1 if dt_tie else modes) * 3 - 4)
        inv_dt = INVERSES[dt_transform](dt)
        tail = () if is_real else (2,)
        values = {
            "inv_dt": torch.asinh(inv_dt) if dt_fast else inv_dt,
            "C": torch.randn(heads, channels, modes, *tail),
            "B": torch.randn(1, sets, modes, *tail),
            "A_real": INVERSES[real_transform](torch.rand(sets, modes) * 0.6 + 0.2),
        }
        if not is_real:
            values["A_imag"] = INVERSES[imag_transform](
                0.1 + 0.8 * torch.rand(sets, modes) + torch.arange(modes) * (imag_transform != "sigmoid")
            )
        if rank:
            values["P"] = 0.4 * torch.randn(rank, sets, modes, 2)
            self.register_buffer("l_kernel", torch.tensor(0))
        for name, value in values.items():
            if name in frozen:
                self.register_buffer(name, value)
            else:
                self.register_parameter(name, nn.Parameter(value))

    def continuous(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Dense state matrix, input and output of all channels, conjugates included, and the steps."""
        inv_dt = self.inv_dt.double()
        dt = TRANSFORMS[self.dt_transform]((inv_dt.exp() - (-inv_dt).exp()) / 2 if self.dt_fast else inv_dt)
        a = (-TRANSFORMS[self.real_transform](self.A_real.double())).to(torch.complex128)
        if not self.is_real:
            a = a - 1j * TRANSFORMS[self.imag_transform](self.A_imag.double())
        read = (lambda x: x.double().to(torch.complex128)) if self.is_real else complex_of
        B, C = read(self.B)[0], read(self.C)
        channels = C.shape[1]
        a, B = (torch.cat([x] * (channels // len(x))) for x in (a, B))
        if self.bandlimit is not None:
            C = C * ((dt * a.imag.abs() / (2 * torch.pi)) < self.bandlimit / 2)
        both = lambda x: torch.cat((x, x.conj()), -1)  # noqa: E731
        A = torch.diag_embed(both(a))
        if hasattr(self, "P"):
            P = complex_of(self.P)
            P = both(torch.cat([P] * (channels // P.shape[1]), 1))
            A = A - torch.einsum("rhm,rhn->hmn", P, P.conj())
        return A, both(B), both(C), both(dt.expand(channels, a.shape[-1]))

    def discrete(self, rate: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
        A, B, C, dt = self.continuous()
        dt = dt * rate
        A, B = dt[..., None] * A, (dt * B)[..., None]
        eye = torch.eye(A.shape[-1], dtype=A.dtype)
        if self.disc == "bilinear" or hasattr(self, "P"):
            inverse = torch.linalg.inv(eye - A / 2)
            return inverse @ (eye + A / 2), (inverse @ B)[..., 0], C
        # Zero-order hold, from the exponential of the augmented matrix.
        n = A.shape[-1]
        augmented = torch.zeros((*A.shape[:-2], n + 1, n + 1), dtype=A.dtype)
        augmented[..., :n, :n], augmented[..., :n, n:] = A, B
        exponential = torch.linalg.matrix_exp(augmented)
        return exponential[..., :n, :n], exponential[..., :n, n], C

    def truncate(self, length: int) -> None:
        """What the published kernel does to C when it first runs at a length."""
        A, _, C = self.discrete()
        power = torch.linalg.matrix_power(A, length)
        C = C - torch.einsum("chn,hnm->chm", C, power)
        with torch.no_grad():
            self.C.copy_(torch.view_as_real(C[..., : C.shape[-1] // 2]).float())
            self.l_kernel.fill_(length)

    def forward(self, length: int, rate: float = 1.0) -> Tensor:
        if self.disc == "dss":
            return self.normalised(length, rate)
        A, B, C = self.discrete(rate)
        if hasattr(self, "l_kernel") and self.l_kernel > 0:
            eye = torch.eye(A.shape[-1], dtype=A.dtype)
            inverse = torch.linalg.inv(eye - torch.linalg.matrix_power(A, round(int(self.l_kernel) / rate)))
            C = torch.einsum("chn,hnm->chm", C, inverse)
        x, taps = B, []
        for _ in range(length):
            taps.append(torch.einsum("chn,hn->ch", C, x).real)
            x = torch.einsum("hmn,hn->hm", A, x)
        return torch.stack(taps, -1)

    def normalised(self, length: int, rate: float = 1.0) -> Tensor:
        """Softmax-like: each stored mode's exponentials over the length, divided by the sum of a geometric series."""
        A, B, C, dt = self.continuous()
        n = A.shape[-1] // 2
        a, B, C, dt = A.diagonal(dim1=-2, dim2=-1)[:, :n], B[:, :n], C[..., :n], rate * dt[:, :n]
        K = torch.zeros((*C.shape[:2], length), dtype=torch.float64)
        for j in range(n):
            for h in range(len(a)):
                step = dt[h, j] * a[h, j]
                grows = bool(a[h, j].real > 0)
                down = -step if grows else step
                x = ((down * length).exp() - 1) * a[h, j]
                weight = (down.exp() - 1) * x.conj() / (x * x.conj() + 1e-7)
                exponents = step * (torch.arange(length) - (length - 1) * grows)
                for c in range(len(C)):
                    K[c, h] += (C[c, h, j] * B[h, j] * weight * exponents.exp()).real
        return K


class FFTConv(nn.Module):
    """Convolution by the kernels, by its sums, with skip, dropout and activation."""

    def __init__(
        self,
        d_model: int,
        d_state: int,
        channels: int = 1,
        bidirectional: bool = False,
        activation: str = "gelu",
        transposed: bool = True,
        swap_channels: bool = False,
        dropout: float = 0.0,
        l_max: int | None = None,
        **kernel: Any,
    ) -> None:
        super().__init__()
        self.d_model, self.channels, self.bidirectional = d_model, channels, bidirectional
        self.transposed, self.swap_channels, self.L = transposed, swap_channels, l_max
        self.l_max = l_max
        self.d_output = d_model * channels
        heads = channels * (2 if activation == "glu" else 1)
        self.D = nn.Parameter(torch.randn(heads, d_model))
        modes = d_state if kernel.get("is_real") else d_state // 2
        self.kernel = SSMKernel(d_model, modes, heads * (2 if bidirectional else 1), l_max=l_max, **kernel)
        axis = 1 if transposed else -1
        self.activation = {"gelu": nn.GELU(), "glu": nn.GLU(dim=axis), "id": nn.Identity(), "tanh": nn.Tanh()}[activation]
        self.drop = nn.Dropout(dropout) if dropout else nn.Identity()

    def forward(self, x: Tensor, state: Tensor | None = None, rate: float = 1.0, **_: Any) -> tuple[Tensor, Tensor | None]:
        assert state is None
        u = (x if self.transposed else x.transpose(-1, -2)).double()
        length = u.shape[-1]
        taps = length if self.L is None else min(length, round(self.L / rate))
        K = self.kernel(taps, rate)
        y = self.D.double()[:, :, None] * u[:, None]
        for lag in range(taps):
            y[..., lag:] += K[: len(self.D), :, lag, None] * u[:, None, :, : length - lag]
            # The direction against time has the present sample left out.
            if self.bidirectional and lag + 1 < length:
                y[..., : length - lag - 1] += K[len(self.D) :, :, lag, None] * u[:, None, :, lag + 1 :]
        y = (y.transpose(1, 2) if self.swap_channels else y).flatten(1, 2).float()
        y = self.drop(y)
        return self.activation(y if self.transposed else y.transpose(-1, -2)), None


class S4Block(nn.Module):
    """Gate, bottleneck and mixing around the convolution; ``lengths`` masks the ends of padded sequences."""

    def __init__(
        self,
        d_model: int,
        gate: int | None = None,
        bottleneck: int | None = None,
        final_act: str | None = "glu",
        transposed: bool = True,
        **layer: Any,
    ) -> None:
        super().__init__()
        self.transposed, self.gate, self.bottleneck = transposed, gate, bottleneck
        width = d_model // (bottleneck or 1)
        self.layer = FFTConv(width, transposed=False, **layer)
        if bottleneck is not None:
            self.input_linear = nn.Linear(d_model, width)
        if gate is not None:
            self.input_gate = nn.Sequential(nn.Linear(d_model, width * gate), nn.GELU())
            self.output_gate = nn.Linear(self.layer.d_output, width * gate)
        wide = width * gate if gate is not None else self.layer.d_output
        glu = final_act == "glu"
        self.output_linear: nn.Module = nn.Identity()
        if final_act is not None:
            self.output_linear = nn.Sequential(nn.Linear(wide, d_model * (2 if glu else 1)), nn.GLU(dim=-1) if glu else nn.Tanh())

    def forward(self, x: Tensor, lengths: Tensor | None = None, **extras: Any) -> tuple[Tensor, Tensor | None]:
        if self.transposed:
            x = x.transpose(1, 2)
        if lengths is not None:
            x = x * (torch.arange(x.shape[1])[:, None] < lengths[:, None, None])
        z = self.input_linear(x) if self.bottleneck is not None else x
        y, state = self.layer(z, **extras)
        if self.gate is not None:
            y = self.output_gate(y) * self.input_gate(x)
        y = self.output_linear(y)
        return (y.transpose(1, 2) if self.transposed else y), state


class Classifier(nn.Module):
    """Residual stack of S4 blocks on ``(batch, time, 1)``, mean over time, linear head."""

    def __init__(self, width: int, depth: int, classes: int, rate: float | None = None, **block: Any) -> None:
        super().__init__()
        self.extras = {} if rate is None else {"rate": rate}
        self.encoder = nn.Linear(1, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))
        self.blocks = nn.ModuleList(S4Block(width, transposed=False, **block) for _ in range(depth))
        self.decoder = nn.Linear(width, classes)

    def forward(self, signal: Tensor) -> Tensor:
        z = self.encoder(signal)
        for norm, block in zip(self.norms, self.blocks, strict=True):
            z = z + block(norm(z), lengths=None, **self.extras)[0]
        return self.decoder(z.mean(1))


def make(width: int = 4, depth: int = 2, classes: int = 3, **block: Any) -> Classifier:
    """Factory of a model directory."""
    return Classifier(width, depth, classes, **block)
