"""The layers of state-spaces/s4 before version 4 stated anew, with the same parameter names and module layout.

State matrices are dense and complex, discretised by their definitions, kernels run the recurrence sample by sample, convolutions
are sums.  All of it is in float64; answers are float32.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from tests.published_s4 import INVERSES, TRANSFORMS, complex_of


def real_of(x: Tensor) -> Tensor:
    return torch.view_as_real(x.to(torch.complex64)).contiguous()


def random_modes(sets: int, modes: int) -> Tensor:
    return torch.complex(-0.2 - 0.6 * torch.rand(sets, modes), 0.1 + 0.8 * torch.rand(sets, modes) + torch.arange(modes))


class Kernel(nn.Module):
    """Base of all versions: kernels ``(heads, channels, length)`` of ``self.matrices()``."""

    def matrices(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Dense continuous state matrix, input and output of every channel with conjugates, and the step."""
        raise NotImplementedError

    def steps(self) -> Tensor:
        log_dt = self.log_dt.double()
        return (((log_dt.exp() - (-log_dt).exp()) / 2) if getattr(self, "fast_gate", False) else log_dt).exp()

    def both(self, x: Tensor, channels: int) -> Tensor:
        """Conjugates beside, and sets one after the other until every channel has one."""
        x = torch.cat([x] * (channels // x.shape[-2]), -2)
        return torch.cat((x, x.conj()), -1)

    def discrete(self, rate: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
        A, B, C, dt = self.matrices()
        A, B = (rate * dt)[:, None, None] * A, ((rate * dt)[:, None] * B)[..., None]
        eye = torch.eye(A.shape[-1], dtype=A.dtype)
        if getattr(self, "disc", "bilinear") == "bilinear":
            inverse = torch.linalg.inv(eye - A / 2)
            return inverse @ (eye + A / 2), (inverse @ B)[..., 0], C
        n = A.shape[-1]
        augmented = torch.zeros((len(A), n + 1, n + 1), dtype=A.dtype)
        augmented[..., :n, :n], augmented[..., :n, n:] = A, B
        exponential = torch.linalg.matrix_exp(augmented)
        return exponential[..., :n, :n], exponential[..., :n, n], C

    def forward(self, state: Tensor | None = None, rate: float = 1.0, L: int | None = None) -> tuple[Tensor, None]:
        assert L is not None
        A, B, C = self.discrete(rate)
        internal = round(int(self.L or 0) / rate) if hasattr(self, "P") else 0
        if internal:
            truncation = torch.eye(A.shape[-1], dtype=A.dtype) - torch.linalg.matrix_power(A, internal)
            C = torch.einsum("chn,hnm->chm", C, torch.linalg.inv(truncation))
        x, taps = B, []
        for _ in range(L):
            taps.append(torch.einsum("chn,hn->ch", C, x).real)
            x = torch.einsum("hmn,hn->hm", A, x)
        return torch.stack(taps, -1), None


class SSKernelNPLR(Kernel):
    """Diagonal plus low rank: ``w`` and ``Q`` (version 1), ``log_w_real`` (2), ``inv_w_real`` (3)."""

    def __init__(
        self,
        H: int,
        N: int,
        channels: int,
        version: int = 3,
        n_ssm: int | None = None,
        rank: int = 1,
        real_type: str = "exp",
        bandlimit: float | None = None,
        fast_gate: bool = False,
        l_max: int | None = None,
        lr: float | None = None,
    ) -> None:
        super().__init__()
        sets = n_ssm or H
        self.real_type, self.bandlimit, self.fast_gate, self.l_max = real_type, bandlimit, fast_gate, l_max
        w = random_modes(sets, N // 2)
        self.C = nn.Parameter(torch.randn(channels, H, N // 2, 2))
        log_dt = torch.rand(H) * 2 - 3
        values = {"log_dt": torch.asinh(log_dt) if fast_gate else log_dt, "B": torch.randn(1, sets, N // 2, 2)}
        values["P"] = 0.4 * torch.randn(rank, sets, N // 2, 2)
        if version == 1:
            values |= {"w": real_of(w), "Q": values["P"] * torch.tensor([1.0, -1.0]) + 0.02 * torch.randn(rank, sets, N // 2, 2)}
        elif version == 2:
            values |= {"log_w_real": (-w.real).log(), "w_imag": w.imag}
        else:
            inverse = (lambda x: x) if real_type == "relu" else INVERSES[real_type]
            values |= {"inv_w_real": inverse(-w.real), "w_imag": w.imag}
        for name, value in values.items():
            if lr == 0.0:
                self.register_buffer(name, value)
            else:
                self.register_parameter(name, nn.Parameter(value))
        if version == 1:
            self.L = 0
        else:
            self.register_buffer("L", torch.tensor(0))

    def diagonal(self) -> Tensor:
        if hasattr(self, "w"):
            return complex_of(self.w)
        if hasattr(self, "log_w_real"):
            return torch.complex(-self.log_w_real.double().exp(), self.w_imag.double())
        stored = self.inv_w_real.double()
        real = stored.clamp(min=0) if self.real_type == "relu" else TRANSFORMS[self.real_type](stored)
        return torch.complex(-real, self.w_imag.double())

    def matrices(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        C, w, dt = complex_of(self.C), self.diagonal(), self.steps()
        channels = C.shape[1]
        if self.bandlimit is not None:
            C = C * (dt[:, None] * w.imag.abs() / (2 * math.pi) < self.bandlimit / 2)
        P = self.both(complex_of(self.P), channels)
        Q = self.both(complex_of(self.Q), channels) if hasattr(self, "Q") else P.conj()
        A = torch.diag_embed(self.both(w, channels)) - torch.einsum("rhm,rhn->hmn", P, Q)
        return A, self.both(complex_of(self.B)[0], channels), torch.cat((C, C.conj()), -1), dt

    @torch.no_grad()
    def set_length(self, length: int) -> None:
        """Change C as the published kernels do when they first run at a length."""
        A, _, C = self.discrete()
        C = C - torch.einsum("chn,hnm->chm", C, torch.linalg.matrix_power(A, length))
        self.C.copy_(real_of(C[..., : C.shape[-1] // 2]))
        if isinstance(self.L, Tensor):
            self.L.fill_(length)
        else:
            self.L = length


class SSKernelDiag(Kernel):
    """Diagonal: ``log_w_real`` with B in C (version 2), ``inv_A_real`` (3); ``w`` for softmax-like ones."""

    def __init__(
        self,
        H: int,
        N: int,
        channels: int,
        version: int = 3,
        n_ssm: int | None = None,
        disc: str | None = "bilinear",
        real_type: str = "exp",
        bandlimit: float | None = None,
        force_real: bool = False,
        stored_real: bool = False,
    ) -> None:
        super().__init__()
        sets = n_ssm or H
        self.real_type, self.bandlimit, self.force_real, self.L = real_type, bandlimit, force_real, None
        if disc is not None:
            self.disc = disc
        w = random_modes(sets, N // 2)
        self.C = nn.Parameter(torch.randn(channels, H, N // 2, 2))
        self.log_dt = nn.Parameter(torch.rand(H) * 2 - 3)
        if version == 2 and disc == "dss":
            self.w = nn.Parameter(real_of(w))
        elif version == 2:
            self.log_w_real, self.w_imag = nn.Parameter((-w.real).log()), nn.Parameter(w.imag)
        else:
            self.B = nn.Parameter(torch.randn(sets, N // 2, 2))
            self.inv_A_real, self.A_imag = nn.Parameter(INVERSES[real_type](-w.real)), nn.Parameter(w.imag)
        if stored_real:
            self.B, self.C = nn.Parameter(self.B[..., 0].detach()), nn.Parameter(self.C[..., 0].detach())
            self.A_imag = nn.Parameter(torch.zeros_like(w.imag))

    def diagonal(self) -> Tensor:
        if hasattr(self, "w"):
            return complex_of(self.w)
        if hasattr(self, "log_w_real"):
            return torch.complex(-self.log_w_real.double().exp(), self.w_imag.double())
        w = torch.complex(-TRANSFORMS[self.real_type](self.inv_A_real.double()), self.A_imag.double())
        return w.real.to(w) if self.force_real else w

    @staticmethod
    def stored(x: Tensor, axes: int) -> Tensor:
        return x.double().to(torch.complex128) if x.ndim == axes else complex_of(x)

    def matrices(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        C, w, dt = self.stored(self.C, 3), self.diagonal(), self.steps()
        channels = C.shape[1]
        if self.bandlimit is not None:
            C = C * (dt[:, None] * w.imag.abs() / (2 * math.pi) < self.bandlimit / 2)
        B = self.stored(self.B, 2) if hasattr(self, "B") else torch.ones((1, C.shape[-1]), dtype=C.dtype)
        return torch.diag_embed(self.both(w, channels)), self.both(B, channels), torch.cat((C, C.conj()), -1), dt

    def discrete(self, rate: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
        if not hasattr(self, "disc"):
            self.disc = "zoh"
            try:
                return super().discrete(rate)
            finally:
                del self.disc
        return super().discrete(rate)

    def forward(self, state: Tensor | None = None, rate: float = 1.0, L: int | None = None) -> tuple[Tensor, None]:
        if getattr(self, "disc", None) != "dss":
            return super().forward(state, rate, L)
        assert L is not None
        A, B, C, dt = self.matrices()
        half = A.shape[-1] // 2
        a, B, C = A.diagonal(dim1=-2, dim2=-1)[:, :half], B[:, :half], C[..., :half]
        rows = ((rate * dt)[:, None, None] * a[..., None] * torch.arange(L)).exp()
        rows = rows / rows.sum(-1, keepdim=True) / a[..., None]
        return torch.einsum("chn,hn,hnl->chl", C, B, rows).real, None


class EMAKernel(nn.Module):
    """Mega's moving average as a kernel."""

    def __init__(self, H: int, N: int, channels: int, dt_tie: bool = False, efficient_bidirectional: bool = False) -> None:
        super().__init__()
        self.H, self.N, self.channels, self.scale, self.l_max = H, N, channels, N**-0.5, None
        rows = H if efficient_bidirectional else H * channels
        self.delta, self.alpha = nn.Parameter(torch.randn(rows, 1 if dt_tie else N, 1)), nn.Parameter(torch.randn(rows, N, 1))
        self.beta, self.gamma = nn.Parameter(torch.randn(rows, N, 1)), nn.Parameter(torch.randn(H * channels, N))

    def forward(self, state: Tensor | None = None, rate: float = 1.0, L: int | None = None) -> tuple[Tensor, None]:
        p = 1 / (1 + (-self.delta.double()).exp())
        q = 1 - p / (1 + (-self.alpha.double()).exp())
        taps = (p * self.beta.double()) * q ** torch.arange(L)
        taps = taps.repeat(len(self.gamma) // len(taps), 1, 1)
        K = (taps * self.gamma.double()[..., None]).sum(1) * self.scale
        return K.view(self.channels, self.H, L), None


KERNELS = {"nplr": SSKernelNPLR, "diag": SSKernelDiag, "ema": EMAKernel}


class SSKernel(nn.Module):
    """The wrapper: it keeps the values it began with, beside the module that holds the parameters."""

    def __init__(self, H: int, N: int, channels: int, mode: str = "nplr", **kernel: Any) -> None:
        super().__init__()
        self.H, self.N, self.channels, self.mode = H, N, channels, mode
        self.kernel = KERNELS[mode](H, N, channels, **kernel)
        self.C, self.log_dt = torch.randn(channels, H, N // 2), torch.randn(H)

    def forward(self, state: Tensor | None = None, rate: float = 1.0, L: int | None = None) -> tuple[Tensor, None]:
        K, _ = self.kernel(state=state, rate=rate, L=L)
        return K, None


class S4(nn.Module):
    """Convolution by its sums, skip, and all that the published layer puts around them."""

    def __init__(
        self,
        d_model: int,
        d_state: int = 6,
        l_max: int | None = None,
        channels: int = 1,
        bidirectional: bool = False,
        activation: str = "gelu",
        postact: str | None = "glu",
        hyper_act: str | None = None,
        bottleneck: int | None = None,
        gate: int | None = None,
        transposed: bool = True,
        shift: bool = False,
        linear: bool = False,
        norm: bool = False,
        state: bool = True,
        **kernel: Any,
    ) -> None:
        super().__init__()
        self.d_model, self.H, self.N, self.L = d_model, d_model // (bottleneck or 1), d_state, l_max
        self.bidirectional, self.channels, self.transposed = bidirectional, channels, transposed
        self.gate, self.bottleneck, self.shift, self.linear, self.return_state = gate, bottleneck, shift, linear, state
        act = {"gelu": nn.GELU, "tanh": nn.Tanh, "id": nn.Identity}[activation]
        if bottleneck is not None:
            self.input_linear = nn.Sequential(self.mixing(d_model, self.H), act())
        if gate is not None:
            self.input_gate = nn.Sequential(self.mixing(d_model, d_model * gate), act())
            self.output_gate = self.mixing(d_model * gate, d_model)
        self.hyper = hyper_act is not None
        heads = channels * (1 + self.hyper)
        if self.hyper:
            self.hyper_activation = nn.Tanh()
        self.D = nn.Parameter(torch.randn(heads, self.H))
        self.kernel = SSKernel(self.H, d_state, heads * (1 + bidirectional), **kernel)
        if not linear:
            self.activation, self.dropout = act(), nn.Dropout(0.1)
            if norm:
                self.norm = nn.Conv1d(self.H * channels, self.H * channels, 1) if transposed else nn.LayerNorm(self.H * channels)
            wide = d_model * (gate or 1)
            if postact == "glu":
                axis = -2 if transposed else -1
                self.output_linear: nn.Module = nn.Sequential(self.mixing(self.H * channels, 2 * wide), nn.GLU(dim=axis))
            else:
                self.output_linear = self.mixing(self.H * channels, wide)

    def mixing(self, inputs: int, outputs: int) -> nn.Module:
        return nn.Conv1d(inputs, outputs, 1) if self.transposed else nn.Linear(inputs, outputs)

    def forward(
        self, u: Tensor, state: Tensor | None = None, rate: float = 1.0, lengths: Any = None, **_: Any
    ) -> tuple[Tensor, None] | Tensor:
        axis = -1 if self.transposed else -2
        length = u.shape[axis]
        if isinstance(lengths, Tensor):
            kept = torch.arange(length) < lengths[:, None]
            u = u * (kept[:, None] if self.transposed else kept[..., None])
        z = self.input_linear(u) if self.bottleneck is not None else u
        z = (z if self.transposed else z.transpose(-1, -2)).double()
        taps = length if self.L is None else min(length, round(self.L / rate))
        K, _ = self.kernel(L=taps, rate=rate, state=state)
        y = self.D.double()[:, :, None] * z[:, None]
        late = int(self.shift)
        for lag in range(min(taps, length - late)):
            y[..., lag + late :] += K[: len(self.D), :, lag, None] * z[:, None, :, : length - lag - late]
            if self.bidirectional and lag + 1 < length:
                y[..., : length - lag - 1] += K[len(self.D) :, :, lag, None] * z[:, None, :, lag + 1 :]
        if self.hyper:
            y, other = y.chunk(2, dim=1)
            y = self.hyper_activation(other) * y
        y = y.flatten(1, 2).float()
        y = y if self.linear else self.dropout(self.activation(y))
        y = y if self.transposed else y.transpose(-1, -2)
        if not self.linear:
            y = self.output_linear(self.norm(y) if hasattr(self, "norm") else y)
        if self.gate is not None:
            y = self.output_gate(y * self.input_gate(u))
        return (y, None) if self.return_state else y
