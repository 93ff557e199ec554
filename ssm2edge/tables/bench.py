"""Measurements of an artifact for people."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from ssm2edge.artifact import Manifest
from ssm2edge.tables.parts import time_text, titled_table
from ssm2edge.verification.bench import Bench


def show_bench(console: Console, directory: Path, manifest: Manifest, found: Bench) -> None:
    """Print latencies, the cost of starting, the machine, and the original's figures in the manifest."""
    table = titled_table(f"{directory}: latency of one call", "what", "threads", "batch", "samples", "p50", "p90", "p99")
    for title in ("samples a second", "real time", "relative", "95 % interval"):
        table.add_column(title)
    for entry in found.timed:
        against = entry.against
        table.add_row(
            entry.name,
            str(entry.threads),
            str(entry.batch),
            str(entry.samples),
            *(time_text(seconds) for seconds in (entry.p50, entry.p90, entry.p99)),
            f"{entry.throughput:,.0f}",
            "" if entry.real_time is None else f"{entry.real_time:,.1f} x",
            "1" if against is None else f"{against.ratio:.4g}",
            "" if against is None else f"{against.low:.4g} to {against.high:.4g}",
        )
    where = found.environment
    table.caption = (
        f"{where.processor} ({', '.join(where.flags)}), {where.cores} cores, onnxruntime {where.onnxruntime}, {where.system}"
    )
    console.print(table)
    starts = titled_table("Start, in a process of its own", "what", "load", "first call", "peak memory", "of it after imports")
    for name, start in found.starts.items():
        sizes = ("" if size is None else f"{size / 2**20:.1f} MiB" for size in (start.peak_memory, start.added_memory))
        starts.add_row(name, time_text(start.load), time_text(start.first_call), *sizes)
    console.print(starts)
    original = manifest.original
    if original.latencies:
        table = titled_table(
            f"The original, recorded on {original.device} with torch {original.torch}", "batch", "median", "p10 to p90"
        )
        for latency in original.latencies:
            span = f"{time_text(latency.low)} to {time_text(latency.high)}"
            table.add_row(str(latency.batch), time_text(latency.median), span)
        console.print(table)
