"""Latency of the original PyTorch model and of the artifact, in turns, in one process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ssm2edge.artifact import Latency
from ssm2edge.runtime import Model
from ssm2edge.verification.latency import interleaved, processor_name

ROUNDS = 30
BUDGET = 20.0
"""Seconds the comparison may take before it stops adding rounds."""


def compare_with_original(original: nn.Module, folder: Path, sample: Sequence[NDArray[np.generic]], threads: int = 1) -> Latency:
    """Time one whole sequence, batch 1.

    Parameters
    ----------
    original
        The user's model, as it is, on the CPU.
    folder
        Directory with ``offline.onnx``.
    sample
        One array per input, ``(1, ...)``.
    threads
        Threads of each.
    """
    tensors = [torch.from_numpy(np.ascontiguousarray(x)) for x in sample]
    original.eval()
    with Model(folder / "offline.onnx", threads=threads) as artifact, torch_threads(threads), torch.no_grad():
        feed = dict(zip([port.name for port in artifact.inputs], sample, strict=True))
        compared = interleaved(
            {"original": lambda: original(*tensors), "offline": lambda: artifact.run(feed)},
            baseline="original",
            rounds=ROUNDS,
            budget=BUDGET,
        )
    return Latency(
        device=processor_name(),
        threads=threads,
        original=compared.median("original"),
        artifact=compared.median("offline"),
        ratios=compared.ratios(),
    )


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch use ``count`` threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
