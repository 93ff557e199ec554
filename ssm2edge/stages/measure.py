"""Latency of the artifact and of the original."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from torch import nn

from ssm2edge.artifact import Latency, OriginalRecord
from ssm2edge.calibration.teacher import Teacher
from ssm2edge.layers import blocks
from ssm2edge.original.batches import measure_original
from ssm2edge.original.devices import Device
from ssm2edge.original.latency import compare_with_original
from ssm2edge.original.task import Task
from ssm2edge.stages.progress import Progress
from ssm2edge.verification import Subject, relative_latencies


def measure(task: Task, subject: Subject, folder: Path, device: Device, progress: Progress) -> tuple[Latency, OriginalRecord]:
    """Time both in turns on the processor; where the original has a GPU, time it there in batches, too."""
    progress("measure latency", 0.0)
    latency, original = compare_with_original(
        task.model, folder, list(task.first.values()), relative_latencies(subject), cached=with_cached_kernels(task)
    )
    if device.kind != "cpu":
        original = measure_original(task.model, list(task.held_out.values()), device)
    weights = task.source.weights
    return latency, dataclasses.replace(original, bytes=None if weights is None else weights.stat().st_size)


def with_cached_kernels(task: Task) -> nn.Module | None:
    """Return the original with each layer's kernel computed once; None where no layer has a kernel to keep."""
    network = Teacher(task.model, task.systems).network
    # Blocks without kernels stay in their places.
    return network if set(task.layers) - set(blocks(network)) else None
