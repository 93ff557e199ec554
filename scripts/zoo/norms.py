"""Normalisations, activations and mixing between the layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from zoo.case import WIDTH, Case, network

functional = nn.functional


def by_hand(m: Any, z: Tensor) -> Tensor:
    """A norm over channels, as upstream writes it for sequences with channels first."""
    deviation, mean = torch.std_mean(z.mT, dim=1, unbiased=False, keepdim=True)
    return ((m.gain / (deviation + 1e-5)) * (z.mT - mean + m.shift)).mT  # type: ignore[no-any-return]  # a module


def root_mean_square(m: Any, z: Tensor) -> Tensor:
    """RMSNorm by its definition."""
    return z * torch.rsqrt(z.pow(2).mean(-1, keepdim=True) + 1e-6) * m.gain  # type: ignore[no-any-return]  # a module


def batch_norm() -> nn.Module:
    """A norm with statistics that are no defaults."""
    norm = nn.BatchNorm1d(WIDTH)
    norm.running_mean, norm.running_var = torch.randn(WIDTH), 0.5 + torch.rand(WIDTH)
    return norm


def number() -> nn.Parameter:
    """A trained number."""
    return nn.Parameter(torch.tensor(0.7))


def square(**options: Any) -> nn.Module:
    """A square linear map."""
    return nn.Linear(WIDTH, WIDTH, **options)


def gated(m: Any, z: Tensor) -> Tensor:
    """SwiGLU."""
    up, gate = m.up(z).chunk(2, -1)
    return m.down(functional.silu(gate) * up)  # type: ignore[no-any-return]  # a module


class DropPath(nn.Module):
    """Stochastic depth, the identity when it is not trained."""

    def forward(self, z: Tensor) -> Tensor:
        if not self.training:
            return z
        return z * (torch.rand(z.shape[0], 1, 1) > 0.1) / 0.9


CASES = {
    "norm: LayerNorm": Case(network(lambda m, z: m.norm(z), norm=lambda: nn.LayerNorm(WIDTH))),
    "norm: std_mean": Case(network(by_hand, gain=number, shift=number)),
    "norm: RMSNorm by hand": Case(network(root_mean_square, gain=number)),
    "norm: RMSNorm": Case(network(lambda m, z: m.norm(z), norm=lambda: nn.RMSNorm(WIDTH))),
    "norm: BatchNorm": Case(network(lambda m, z: m.norm(z.mT).mT, norm=batch_norm)),
    "norm: BatchNorm on samples": Case(network(lambda m, z: m.norm(z.flatten(0, 1)).view_as(z), norm=batch_norm)),
    "norm: GroupNorm over channels of a sample": Case(
        network(lambda m, z: m.norm(z.reshape(-1, WIDTH)).reshape(z.shape), norm=lambda: nn.GroupNorm(2, WIDTH))
    ),
    "norm: GroupNorm over time": Case(network(lambda m, z: m.norm(z.mT).mT, norm=lambda: nn.GroupNorm(2, WIDTH)), streams=False),
    "norm: InstanceNorm": Case(network(lambda m, z: m.norm(z.mT).mT, norm=lambda: nn.InstanceNorm1d(WIDTH)), streams=False),
    "norm: unit length": Case(network(lambda m, z: functional.normalize(z, dim=-1))),
    "norm: weight norm": Case(network(lambda m, z: m.mix(z), mix=lambda: parametrizations.weight_norm(square()))),
    "norm: spectral norm": Case(network(lambda m, z: m.mix(z), mix=lambda: parametrizations.spectral_norm(square()))),
    "mixing: GLU": Case(network(lambda m, z: functional.glu(m.up(z), -1), up=lambda: nn.Linear(WIDTH, 2 * WIDTH))),
    "mixing: SwiGLU": Case(network(gated, up=lambda: nn.Linear(WIDTH, 4 * WIDTH), down=lambda: nn.Linear(2 * WIDTH, WIDTH))),
    "mixing: einsum": Case(network(lambda m, z: torch.einsum("btc,cd->btd", z, m.mix.weight), mix=square)),
    "mixing: einsum with heads": Case(
        network(
            lambda m, z: torch.einsum("bthc,hcd->bthd", z.view(*z.shape[:2], 2, -1), m.mix).flatten(-2),
            mix=lambda: nn.Parameter(torch.randn(2, 2, 2)),
        )
    ),
    "mixing: Fourier transform over channels": Case(network(lambda m, z: torch.fft.fft(z, dim=-1).real)),
    "mixing: dropout in every form": Case(
        network(
            lambda m, z: m.path(m.drop(z) + m.channels(z.mT).mT),
            drop=lambda: nn.Dropout(0.3),
            channels=lambda: nn.Dropout1d(0.3),
            path=DropPath,
        )
    ),
    "activation: all kinds": Case(
        network(
            lambda m, z: (
                functional.mish(z)
                + functional.hardswish(z)
                + functional.elu(z)
                + functional.softplus(z)
                + functional.gelu(z, approximate="tanh")
            )
        )
    ),
    "activation: PReLU": Case(network(lambda m, z: m.curve(z.mT).mT, curve=lambda: nn.PReLU(WIDTH))),
    "activation: snake": Case(network(lambda m, z: z + torch.sin(m.rate * z).square() / m.rate, rate=number)),
    "activation: clamps and comparisons": Case(
        network(lambda m, z: torch.where(z > 0.2, z.clamp(-1, 1), 0.1 * z).sign() * z.abs().sqrt())
    ),
}
