"""Rows of single LTI systems: banks of channels and one system of many inputs and outputs, against PyTorch and ONNX DFT."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import onnx
import torch
from torch import Tensor

from latency.networks import dft_bank, random_bank, random_mimo, traced_block
from latency.rows import Row, compare, medians_of, ratio_of
from latency.sessions import bound, open_session, profile
from ssm2edge.export import export_offline
from ssm2edge.layers.block import ReducedBank
from ssm2edge.layers.mimo_block import ReducedMimo
from ssm2edge.systems.system import System

CHANNELS, ORDER, STATES, MIMO_LENGTH = 128, 8, 32, 4096
FFT_TARGETS = {1024: 0.45, 4096: 0.28, 16384: 0.20}
DFT_TARGET, MIMO_TARGET = 0.05, 0.33
SLOW = 16384
"""Length from which ONNX DFT is so slow that few rounds say enough."""


def bank_rows(rounds: int) -> Iterator[Row]:
    """A bank at three lengths against PyTorch's FFT convolution and ONNX DFT."""
    block = ReducedBank(random_bank(CHANNELS, ORDER)).eval()
    traced = traced_block(block)
    for length, target in FFT_TARGETS.items():
        graph = export_offline(traced, length)
        convolve = functools.partial(fft_convolution(block, length), torch.randn(1, CHANNELS, length))

        def make(
            length: int = length, convolve: Callable[[], object] = convolve, graph: onnx.ModelProto = graph
        ) -> dict[str, Callable[[], object]]:
            return {"artifact": bound(open_session(graph), {"time": length}), "PyTorch FFT": convolve}

        compared = compare(make, "PyTorch FFT", rounds)
        yield Row(
            f"bank/fft {length}",
            f"bank, {CHANNELS} channels, order {ORDER}, L = {length:,}",
            "PyTorch FFT convolution, kernel spectrum cached",
            target,
            ratio_of(compared, "artifact", "PyTorch FFT"),
            medians=medians_of(compared, "artifact", "PyTorch FFT"),
            bound_by=profile(graph, {"time": length}),
        )
        dft = dft_bank(block.kernel(length).detach().float())

        def make_dft(
            length: int = length, dft: onnx.ModelProto = dft, graph: onnx.ModelProto = graph
        ) -> dict[str, Callable[[], object]]:
            return {"artifact": bound(open_session(graph), {"time": length}), "ONNX DFT": bound(open_session(dft))}

        compared = compare(make_dft, "ONNX DFT", 6 if length >= SLOW else max(6, rounds // 4))
        yield Row(
            f"bank/dft {length}",
            f"bank, {CHANNELS} channels, order {ORDER}, L = {length:,}",
            "ONNX DFT convolution, kernel spectrum stored",
            DFT_TARGET,
            ratio_of(compared, "artifact", "ONNX DFT"),
            medians=medians_of(compared, "artifact", "ONNX DFT"),
        )


def fft_convolution(block: ReducedBank, length: int) -> Callable[[Tensor], Tensor]:
    """Convolution with a bank's kernel by FFT over time, the kernel's spectrum cached."""
    spectrum = torch.fft.rfft(block.kernel(length).detach().float(), n=2 * length)

    def convolve(u: Tensor) -> Tensor:
        y: Tensor = torch.fft.irfft(torch.fft.rfft(u, n=2 * length) * spectrum, n=2 * length)[..., :length]
        return y

    return convolve


def mimo_rows(rounds: int) -> Iterator[Row]:
    """One system against both PyTorch forms of it; the ratio is to the faster one."""
    system = random_mimo(CHANNELS, STATES)
    graph = export_offline(traced_block(ReducedMimo(system).eval()))
    forms = {"PyTorch FFT": mimo_by_fft(system, MIMO_LENGTH), "PyTorch scan": mimo_by_scan(system)}
    u = torch.randn(1, MIMO_LENGTH, CHANNELS)

    def make() -> dict[str, Callable[[], object]]:
        artifact = bound(open_session(graph), {"time": MIMO_LENGTH})
        return {"artifact": artifact, **{name: functools.partial(form, u) for name, form in forms.items()}}

    compared = compare(make, "PyTorch FFT", rounds)
    faster = min(forms, key=compared.median)
    yield Row(
        "mimo/4096",
        f"MIMO {CHANNELS} x {CHANNELS}, {STATES} states, L = {MIMO_LENGTH:,}",
        "the faster of PyTorch's FFT and associative-scan forms",
        MIMO_TARGET,
        ratio_of(compared, "artifact", faster),
        medians=medians_of(compared, "artifact", *forms),
        bound_by=profile(graph, {"time": MIMO_LENGTH}),
    )


def _halves(system: System) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One pole of each pair, as deep layers store them: poles, B, 2 C and D in single precision."""
    single = torch.complex64
    poles, B, C = system.poles[::2].to(single), system.B[::2].to(single), 2 * system.C[:, ::2].to(single)
    return poles, B.mT.contiguous(), C.mT.contiguous(), system.D.float().mT.contiguous()


def mimo_by_fft(system: System, length: int) -> Callable[[Tensor], Tensor]:
    """The states by FFT convolution over time, the spectra of the powers of the poles cached."""
    _, B, C, D = _halves(system)
    powers = system.poles[::2].unsqueeze(0) ** torch.arange(length - 1).unsqueeze(1)
    delayed = torch.cat((torch.zeros_like(powers[:1]), powers)).to(torch.complex64)
    spectrum = torch.fft.fft(delayed, n=2 * length, dim=0)

    def form(u: Tensor) -> Tensor:
        drive = torch.complex(u @ B.real, u @ B.imag)
        x = torch.fft.ifft(torch.fft.fft(drive, n=2 * length, dim=1) * spectrum, dim=1)[:, :length]
        y: Tensor = x.real @ C.real - x.imag @ C.imag + u @ D
        return y

    return form


def mimo_by_scan(system: System) -> Callable[[Tensor], Tensor]:
    """The states by an associative scan: log2(time) passes over the sequence."""
    poles, B, C, D = _halves(system)

    def form(u: Tensor) -> Tensor:
        x, power, step = torch.complex(u @ B.real, u @ B.imag), poles, 1
        while step < u.shape[1]:
            x = torch.cat((x[:, :step], x[:, step:] + power * x[:, :-step]), dim=1)
            step, power = 2 * step, power * power
        x = torch.nn.functional.pad(torch.view_as_real(x)[:, :-1], (0, 0, 0, 0, 1, 0))
        return x[..., 0] @ C.real - x[..., 1] @ C.imag + u @ D

    return form
