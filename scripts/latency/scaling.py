"""Rows of two threads and of batches: what a device with more cores, or a server, gets."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from latency.models import LENGTH, NETWORK, ORDER, offline_graph
from latency.networks import random_bank, traced_block
from latency.rows import Row, compare, medians_of, ratio_of
from latency.sessions import bound, open_session, profile
from latency.systems import CHANNELS, fft_convolution
from ssm2edge.export import export_offline
from ssm2edge.layers.block import ReducedBank
from ssm2edge.original.latency import torch_threads

THREADS, THREADS_TARGET = 2, 1 / 1.6
BATCH_TARGETS = {8: 0.45, 64: 0.45}
"""As for one sequence."""

BANK_LENGTH, BANK_TARGET = 4096, 0.28
MANY = 64


def thread_rows(rounds: int) -> Iterator[Row]:
    """The whole model on two threads against itself on one, and a bank against PyTorch's convolution, both on two."""
    graph, size = offline_graph(ORDER), {"time": LENGTH}

    def make() -> dict[str, Callable[[], object]]:
        return {
            "one thread": bound(open_session(graph), size),
            "two threads": bound(open_session(graph, threads=THREADS), size),
        }

    compared = compare(make, "one thread", rounds)
    yield Row(
        "threads/whole",
        f"whole model on {THREADS} threads, L = {LENGTH:,}, {NETWORK}",
        "itself on one",
        THREADS_TARGET,
        ratio_of(compared, "two threads", "one thread"),
        medians=medians_of(compared, "two threads", "one thread"),
        bound_by=profile(graph, size, threads=THREADS),
    )
    yield _bank_row("threads/bank", 1, BANK_LENGTH, BANK_TARGET, rounds, THREADS)


def batch_rows(rounds: int) -> Iterator[Row]:
    """Batches of sequences through a bank against PyTorch's convolution, one thread."""
    for batch, target in BATCH_TARGETS.items():
        yield _bank_row(f"batch/{batch}", batch, LENGTH, target, min(rounds, 9) if batch >= MANY else rounds, 1)


def _bank_row(key: str, batch: int, length: int, target: float, rounds: int, threads: int) -> Row:
    block = ReducedBank(random_bank(CHANNELS, ORDER)).eval()
    graph, size = export_offline(traced_block(block), length), {"time": length, "batch": batch}
    convolve, u = fft_convolution(block, length), torch.randn(batch, CHANNELS, length)

    def in_torch() -> Tensor:
        with torch_threads(threads):
            return convolve(u)

    def make() -> dict[str, Callable[[], object]]:
        return {"artifact": bound(open_session(graph, threads=threads), size), "PyTorch FFT": in_torch}

    compared = compare(make, "PyTorch FFT", rounds)
    batches = f", batch {batch}" if batch > 1 else ""
    on = f", {threads} threads" if threads > 1 else ""
    return Row(
        key,
        f"bank, {CHANNELS} channels, order {ORDER}, L = {length:,}{batches}{on}",
        f"PyTorch FFT convolution, kernel spectrum cached{on}",
        target,
        ratio_of(compared, "artifact", "PyTorch FFT"),
        medians=medians_of(compared, "artifact", "PyTorch FFT"),
        bound_by=profile(graph, size, runs=5 if batch >= MANY else 40, threads=threads),
    )
