"""Latency of the user's model on its own device, one sequence at a time and in batches."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ssm2edge.artifact import BatchLatency, OriginalRecord
from ssm2edge.original.devices import Device

BATCHES = (1, 8, 32, 128, 512)
"""Batch sizes that are timed: one sequence, and what a GPU needs to be busy."""

WARMUP = 5
CALLS = 50
BUDGET = 10.0
"""Seconds for each batch size after which no further call is timed, but never before the fifth."""


def measure_original(model: nn.Module, samples: Sequence[NDArray[np.generic]], device: Device) -> OriginalRecord:
    """Time a model on whole sequences.

    Parameters
    ----------
    model
        Any module; it is moved to the device, and back to the CPU.
    samples
        One array per input, ``(samples, ...)``; batches repeat them as needed.
    device
        Where to run.

    Returns
    -------
    OriginalRecord
        Batch sizes that do not fit the device's memory are left out.
    """
    model.eval().to(device.torch_device)
    latencies = []
    try:
        for batch in BATCHES:
            inputs = [batch_of(value, batch).to(device.torch_device) for value in samples]
            try:
                latencies.append(_latency(model, inputs, device, batch))
            except torch.OutOfMemoryError:
                break
        return OriginalRecord(device.kind, device.name, str(torch.__version__), device.threads, tuple(latencies))
    finally:
        model.to("cpu")


def batch_of(value: NDArray[np.generic], batch: int) -> Tensor:
    """The first ``batch`` samples, from the beginning again where there are fewer."""
    return torch.from_numpy(value[np.arange(batch) % len(value)])


def _latency(model: nn.Module, inputs: Sequence[Tensor], device: Device, batch: int) -> BatchLatency:
    end = time.monotonic() + BUDGET
    seconds: list[float] = []
    with torch.no_grad():
        for call in range(WARMUP + CALLS):
            if len(seconds) >= 5 and time.monotonic() > end:
                break
            taken = device.time(lambda: model(*inputs))
            # A slow model is warm after one call; a fast one needs several until its kernels are chosen and its clocks are up.
            if call >= WARMUP or (call > 0 and taken > BUDGET / CALLS):
                seconds.append(taken)
    low, median, high = np.quantile(seconds, [0.1, 0.5, 0.9])
    return BatchLatency(batch, float(median), float(low), float(high))
