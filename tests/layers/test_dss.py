"""Diagonal state spaces as published, exp and softmax: what replaces a layer at full order computes what the layer computes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ssm2edge.layers import LayerError, check_lengths, exportable, find_layers, fix_lengths, replace_layers
from ssm2edge.original.recording import count_parameters
from tests.layer_answers import answers, relative

CHANNELS, MODES, LENGTH = 4, 3, 30


class DSSKernel(nn.Module):
    """Kernels ``(heads, channels, length)`` by the published formulas; the softmax is a softmax."""

    def __init__(self, heads: int, version: str, separate: bool) -> None:
        super().__init__()
        self.version, self.epsilon, self.max_real_Lambda = version, 1e-7, -0.3
        log_dt = torch.rand(CHANNELS) - 1.5
        self.log_dt = nn.Parameter(torch.stack((log_dt, log_dt + separate * torch.rand(CHANNELS)), -1) if separate else log_dt)
        real, imaginary = -0.2 - 0.5 * torch.rand(MODES), 0.5 + torch.arange(MODES) + torch.rand(MODES)
        if "exp" in version:
            self.Lambda_log_neg_re = nn.Parameter((-real).log())
            if "im" in version:
                self.Lambda_log_im = nn.Parameter(imaginary.log())
            else:
                self.Lambda_im = nn.Parameter(imaginary)
        else:
            self.Lambda = nn.Parameter(torch.stack((real, imaginary), -1))
        self.W = nn.Parameter(torch.randn(heads, CHANNELS, MODES, 2))

    def forward(self, length: int) -> Tensor:
        if hasattr(self, "Lambda"):
            real, imaginary = self.Lambda.double().unbind(-1)
            real = real.clamp(max=self.max_real_Lambda) if "clip" in self.version else real
        else:
            real = -self.Lambda_log_neg_re.double().exp()
            imaginary = self.Lambda_log_im.double().exp() if hasattr(self, "Lambda_log_im") else self.Lambda_im.double()
        dt = self.log_dt.double().exp().reshape(CHANNELS, -1)
        W = torch.view_as_complex(self.W.double())
        Lambda = torch.complex(real, imaginary)
        K = torch.zeros(len(W), CHANNELS, length, dtype=torch.float64)
        for h in range(CHANNELS):
            for n in range(MODES):
                step = real[n] * dt[h, 0] + 1j * imaginary[n] * dt[h, -1]
                rows = (step * torch.arange(length)).exp()
                if self.version == "softmax":
                    rows = rows / rows.sum() / Lambda[n]
                elif "no-scale" not in self.version:
                    rows = rows * (step.exp() - 1) / Lambda[n]
                for c in range(len(W)):
                    K[c, h] += (W[c, h, n] * rows).real
        return K


class DSS(nn.Module):
    """Convolution by its sums, skip, gate, activation and mixing, in the published layout."""

    def __init__(
        self,
        version: str = "softmax",
        separate: bool = False,
        channels: int = 1,
        bidirectional: bool = False,
        hyper: bool = False,
        transposed: bool = True,
        max_kernel_length: int | None = None,
    ) -> None:
        super().__init__()
        self.bidirectional, self.channels, self.transposed, self.hyper = bidirectional, channels, transposed, hyper
        self.max_kernel_length = max_kernel_length
        heads = channels * (1 + hyper)
        self.D = nn.Parameter(torch.randn(heads, CHANNELS))
        self.kernel = DSSKernel(heads * (1 + bidirectional), version, separate)
        self.hyper_activation, self.activation, self.dropout = nn.Tanh(), nn.GELU(), nn.Identity()
        width = CHANNELS * channels
        self.output_linear = nn.Conv1d(width, CHANNELS, 1) if transposed else nn.Linear(width, CHANNELS)

    def forward(self, u: Tensor, **_: Any) -> tuple[Tensor, None]:
        x = (u if self.transposed else u.transpose(-1, -2)).double()
        length = x.shape[-1]
        taps = min(length, self.max_kernel_length or length)
        K = self.kernel(taps)
        y = self.D.double()[:, :, None] * x[:, None]
        for lag in range(taps):
            y[..., lag:] += K[: len(self.D), :, lag, None] * x[:, None, :, : length - lag]
            if self.bidirectional and lag + 1 < length:
                y[..., : length - lag - 1] += K[len(self.D) :, :, lag, None] * x[:, None, :, lag + 1 :]
        if self.hyper:
            y, gate = y.chunk(2, dim=1)
            y = self.hyper_activation(gate) * y
        y = self.dropout(self.activation(y.flatten(1, 2).float()))
        return self.output_linear(y if self.transposed else y.transpose(-1, -2)), None


def layer_of(**options: Any) -> DSS:
    torch.manual_seed(0)
    return DSS(**options).eval()


OPTIONS: list[dict[str, Any]] = [
    *({"version": version} for version in ("exp", "exp-re-im", "exp-no-scale", "clip", "clip-no-scale")),
    {"version": "exp", "separate": True},
    {"version": "exp", "channels": 2, "hyper": True, "transposed": False},
    {"version": "exp", "bidirectional": True, "max_kernel_length": 50},
    {"max_kernel_length": LENGTH},
    {"max_kernel_length": LENGTH, "separate": True},
    {"max_kernel_length": LENGTH, "bidirectional": True, "channels": 2},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_form_is_reproduced_at_full_order(options: dict[str, Any]) -> None:
    layer = layer_of(**options)
    found = find_layers(layer)
    assert all((part.library, part.system.order) == ("DSS", 2 * MODES) for part in found)
    kept = sum(p.numel() for p in layer.output_linear.parameters())
    assert sum(part.parameters for part in found) == count_parameters(layer) - kept
    replaced = replace_layers(layer, {part.name: part.system for part in found})
    softmax = layer.kernel.version == "softmax"
    for length in [LENGTH] if softmax else [1, 2, LENGTH]:
        u = torch.randn((2, CHANNELS, length) if layer.transposed else (2, length, CHANNELS))
        expected = answers(layer, u)
        assert relative(answers(replaced, u), expected) < 1e-5
        assert relative(answers(exportable(replaced), u), expected) < 1e-5


def test_a_softmax_is_the_layers_system_at_its_length_only() -> None:
    layer = layer_of(max_kernel_length=LENGTH)
    (found,) = find_layers(layer)
    assert found.lengths == range(LENGTH, LENGTH + 1)
    assert f"softmax over {LENGTH} samples" in found.kind
    check_lengths([found], LENGTH)
    with pytest.raises(LayerError, match=rf"exactly {LENGTH} samples, and the model is used on 17"):
        check_lengths([found], 17)
    u = torch.randn(2, CHANNELS, 8)
    replaced = replace_layers(layer, {"": found.system})
    assert relative(answers(replaced, u), answers(layer, u)) > 1e-3


def test_a_softmax_of_no_stated_length_gets_that_of_the_samples() -> None:
    layer = layer_of()
    with pytest.raises(LayerError, match=r"Layer \(the model\) \(DSS\) cannot be read: .*max_kernel_length\."):
        find_layers(layer)
    u = torch.randn(2, CHANNELS, LENGTH)
    before = answers(layer, u)
    fix_lengths(layer, LENGTH)
    assert torch.equal(answers(layer, u), before)
    (found,) = find_layers(layer)
    assert relative(answers(replace_layers(layer, {"": found.system}), u), before) < 1e-5
    other = layer_of(max_kernel_length=12)
    fix_lengths(other, LENGTH)
    assert other.max_kernel_length == 12


def test_what_cannot_be_read_is_refused_by_name() -> None:
    layer = layer_of(version="exp")
    layer.kernel.W.data[0, 0, 0, 0] = float("nan")
    with pytest.raises(LayerError, match="parameter W holds NaN"):
        find_layers(layer)
    layer = layer_of(version="exp")
    layer.kernel.version = "cosine"
    with pytest.raises(LayerError, match="version 'cosine'"):
        find_layers(layer)
    growing = layer_of(max_kernel_length=LENGTH)
    growing.kernel.Lambda.data[0, 0] = 0.1
    with pytest.raises(LayerError, match="not stable"):
        find_layers(growing)
