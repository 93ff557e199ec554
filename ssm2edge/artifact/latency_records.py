"""Latencies in the manifest, in seconds: of the artifact beside its original, and of the original where it was recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Ratio:
    """A latency relative to a baseline's, with its confidence interval."""

    ratio: float
    low: float
    high: float


@dataclass(frozen=True)
class Latency:
    """Latencies measured in one run, interleaved.

    Attributes
    ----------
    device
        Name of the machine's processor.
    threads
        Threads each candidate may use.
    original
        Median of the original model, in seconds; None if it was not run.
    artifact
        Median of the artifact on whole sequences, in seconds.
    ratios
        By candidate: its latency relative to the original's.
    workload
        By graph: its latency relative to the fixed calibration workload's, so that another machine can compare with it.
    cached
        Median of the original with each layer's kernel computed once, in seconds; None where no layer has a kernel to keep.
    cached_ratios
        By candidate: its latency relative to that.
    """

    device: str
    threads: int
    original: float | None
    artifact: float
    ratios: Mapping[str, Ratio]
    workload: Mapping[str, Ratio]
    cached: float | None = field(default=None, metadata={"optional": True})
    cached_ratios: Mapping[str, Ratio] = field(default_factory=dict, metadata={"optional": True})


@dataclass(frozen=True)
class BatchLatency:
    """Time of one call of the original on a batch, in seconds: median, 10th and 90th percentile."""

    batch: int
    median: float
    low: float
    high: float


@dataclass(frozen=True)
class OriginalRecord:
    """Device and latency of the original when its outputs were recorded.

    Attributes
    ----------
    kind
        ``cpu`` or ``cuda``.
    device
        Name of the processor or GPU.
    torch
        Version of torch.
    threads
        Threads of torch; None on a GPU.
    latencies
        Whole held-out sequences, by batch size; empty if not measured.
    bytes
        Size of its weights file; None where its weights are in none.
    """

    kind: str
    device: str
    torch: str
    threads: int | None
    latencies: tuple[BatchLatency, ...]
    bytes: int | None = field(default=None, metadata={"optional": True})
