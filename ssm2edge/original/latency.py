"""Latency of the original PyTorch model and of the artifact, in turns, in one process."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ssm2edge.artifact import BatchLatency, Latency, OriginalRecord, Ratio
from ssm2edge.original.devices import Processor
from ssm2edge.runtime import Model
from ssm2edge.verification.latency import Comparison, interleaved, processor_name

ROUNDS = 30
BUDGET = 4.0
"""Seconds after which the comparison adds no round; three rounds of a model that takes long may take longer."""


def compare_with_original(
    original: nn.Module,
    folder: Path,
    sample: Sequence[NDArray[np.generic]],
    workload: Mapping[str, Ratio],
    threads: int = 1,
    cached: nn.Module | None = None,
) -> tuple[Latency, OriginalRecord]:
    """Time one whole sequence, batch 1, and say where the original ran.

    Parameters
    ----------
    original
        The user's model, as it is, on the CPU.
    folder
        Directory with ``offline.onnx``.
    sample
        One array per input, ``(1, ...)``.
    workload
        Latency of each graph relative to the calibration workload's.
    threads
        Threads of each.
    cached
        The original with each layer's kernel computed once, if it has kernels.
    """
    tensors = [torch.from_numpy(np.ascontiguousarray(x)) for x in sample]
    original.eval()
    with Model(folder / "offline.onnx", threads=threads) as artifact, torch_threads(threads), torch.no_grad():
        feed = dict(zip([port.name for port in artifact.inputs], sample, strict=True))
        candidates: dict[str, Callable[[], object]] = {
            "original": lambda: original(*tensors),
            "offline": lambda: artifact.run(feed),
        }
        if cached is not None:
            candidates["cached"] = lambda: cached(*tensors)
        compared = interleaved(candidates, baseline="original", rounds=ROUNDS, budget=BUDGET)
    low, median, high = (compared.percentile("original", percent) for percent in (10.0, 50.0, 90.0))
    record = OriginalRecord("cpu", Processor().name, str(torch.__version__), threads, (BatchLatency(1, median, low, high),))
    return _latency(compared, threads, workload), record


def _latency(compared: Comparison, threads: int, workload: Mapping[str, Ratio]) -> Latency:
    cached = dataclasses.replace(compared, baseline="cached") if "cached" in compared.seconds else None
    return Latency(
        device=processor_name(),
        threads=threads,
        original=compared.median("original"),
        artifact=compared.median("offline"),
        ratios={"offline": compared.ratio("offline")},
        workload=workload,
        cached=None if cached is None else cached.median("cached"),
        cached_ratios={} if cached is None else {"offline": cached.ratio("offline")},
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
