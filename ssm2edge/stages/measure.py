"""Latency of the artifact and of the original."""

from __future__ import annotations

from pathlib import Path

from ssm2edge.artifact import Latency, OriginalRecord
from ssm2edge.original.batches import measure_original
from ssm2edge.original.devices import Device
from ssm2edge.original.latency import compare_with_original
from ssm2edge.original.task import Task
from ssm2edge.stages.progress import Progress
from ssm2edge.verification import Subject, relative_latencies


def measure(task: Task, subject: Subject, folder: Path, device: Device, progress: Progress) -> tuple[Latency, OriginalRecord]:
    """Time both in turns on the processor; where the original has a GPU, time it there in batches, too."""
    progress("measure latency", 0.0)
    latency, original = compare_with_original(task.model, folder, list(task.first.values()), relative_latencies(subject))
    if device.kind != "cpu":
        original = measure_original(task.model, list(task.held_out.values()), device)
    return latency, original
