"""H3 stated anew, with the published names: projections, a shift SSM, a diagonal one; convolutions are sums."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tests.early_s4 import SSKernel as DiagonalKernel


class SSKernelShift(nn.Module):
    """The state is a window of the past: ``x[k+1] = S x[k] + B u[k]`` with S moving every entry on, ``y[k] = C x[k+1]``."""

    def __init__(self, H: int, N: int) -> None:
        super().__init__()
        self.H, self.N = H, N
        self.B, self.C = nn.Parameter(torch.randn(H, N)), nn.Parameter(torch.randn(1, H, N) / N)

    def forward(self, state: Tensor | None = None, rate: float = 1.0, L: int | None = None) -> tuple[Tensor, None]:
        assert L is not None
        x, taps = self.B.double(), []
        for _ in range(L):
            taps.append((self.C.double() * x).sum(-1))
            x = nn.functional.pad(x, (1, -1))
        return torch.stack(taps, -1), None


class SSKernel(nn.Module):
    def __init__(self, kernel: nn.Module) -> None:
        super().__init__()
        self.kernel = kernel

    def forward(self, **call: Any) -> tuple[Tensor, None]:
        taps, state = self.kernel(**call)
        return taps, state


def convolved(K: Tensor, u: Tensor) -> Tensor:
    y = torch.zeros_like(u)
    for lag in range(min(K.shape[-1], u.shape[-1])):
        y[..., lag:] += K[:, lag, None] * u[..., : u.shape[-1] - lag]
    return y


class H3(nn.Module):
    def __init__(self, d_model: int, d_state: int = 6, l_max: int | None = None, head_dim: int = 1, **kernel: Any) -> None:
        super().__init__()
        self.d_model, self.head_dim, self.H, self.N, self.L = d_model, head_dim, d_model // head_dim, d_state, l_max
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(d_model, d_model) for _ in range(3))
        self.ssm_k_kernel = SSKernel(SSKernelShift(d_model, d_state))
        self.ssm_k_D = nn.Parameter(torch.randn(d_model))
        self.kernel = DiagonalKernel(self.H, d_state, 1, **{"mode": "diag", **kernel})
        self.D = nn.Parameter(torch.randn(self.H))
        self.output_linear = nn.Linear(d_model, d_model)

    def forward(self, u: Tensor, inference_params: Any = None) -> Tensor:
        assert inference_params is None
        length = u.shape[1]
        taps = length if self.L is None else min(length, self.L)
        q, k, v = (projection(u).transpose(1, 2).double() for projection in (self.q_proj, self.k_proj, self.v_proj))
        k = convolved(self.ssm_k_kernel(L=taps, state=None, rate=1.0)[0][0], k) + self.ssm_k_D.double()[:, None] * k
        K = self.kernel(L=taps, state=None, rate=1.0)[0][0]
        shape = (len(u), self.H, self.head_dim, length)
        q, k, v = (x.reshape(shape).permute(0, 2, 1, 3) for x in (q, k, v))
        out = []
        for second in range(self.head_dim):
            parts = []
            for first in range(self.head_dim):
                product = k[:, first] * v[:, second]
                parts.append(q[:, first] * (convolved(K, product) + self.D.double()[:, None] * product))
            out.append(torch.stack(parts).sum(0))
        return self.output_linear(torch.cat(out, 1).transpose(1, 2).to(u.dtype))
