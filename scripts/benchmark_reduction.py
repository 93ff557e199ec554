"""How long reduction takes: 6 layers x 512 channels x 64 states to order 8, and how the time grows with the channels.

    python scripts/benchmark_reduction.py --out benchmark.json

Balanced truncation is also timed against a loop of pyMOR reductors over the first channels, in the same run.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import sys
import time
from pathlib import Path

import click
import torch
from compare_reductions import random_channels

from ssm2edge.reduction import reduce_system
from ssm2edge.systems.dense import to_dense
from ssm2edge.systems.system import System


def timed_loop_of_pymor(system: System, order: int, channels: int) -> float:
    """Return the seconds per channel of pyMOR's balanced truncation, one reductor after the other."""
    from pymor.core.logger import set_log_levels
    from pymor.models.iosys import LTIModel
    from pymor.reductors.bt import BTReductor

    set_log_levels({"pymor": "ERROR"})
    dense = to_dense(system[:channels])
    matrices = [getattr(dense, name).numpy() for name in "ABCD"]
    start = time.perf_counter()
    for A, B, C, D in zip(*matrices, strict=True):
        BTReductor(LTIModel.from_matrices(A, B, C, D, sampling_time=1)).reduce(order)
    return (time.perf_counter() - start) / channels


@click.command(help=__doc__)
@click.option("--channels", default=3072, show_default=True, help="Channels of the largest run.")
@click.option("--states", default=64, show_default=True)
@click.option("--order", default=8, show_default=True)
@click.option("--horizon", default=784, show_default=True, help="Taps; 0 for the infinite horizon.")
@click.option("--threads", default=2, show_default=True)
@click.option("--pymor-channels", default=64, show_default=True, help="Channels of the pyMOR loop; 0 leaves it out.")
@click.option("--out", type=click.Path(path_type=Path), default=None, help="JSON file for the figures.")
def main(channels: int, states: int, order: int, horizon: int, threads: int, pymor_channels: int, out: Path | None) -> None:
    torch.set_num_threads(threads)
    taps = horizon or None
    figures: dict[str, object] = {
        "states": states,
        "order": order,
        "horizon": taps,
        "threads": threads,
        "cores": os.cpu_count(),
        "machine": platform.processor() or platform.machine(),
        "torch": torch.__version__,
    }
    reduce_system(random_channels(8, states, 1), order, "gradient", taps)  # warm
    growth = []
    # The balanced truncation has the infinite horizon in both, pyMOR having no other.
    system = random_channels(channels, states, 0)
    start = time.perf_counter()
    reduce_system(system, order, "balanced", None)
    ours = time.perf_counter() - start
    click.echo(f"balanced truncation, {channels} channels: {ours:.1f} s")
    figures["balanced_seconds"] = ours
    if pymor_channels:
        each = timed_loop_of_pymor(system, order, min(pymor_channels, channels))
        figures["pymor_seconds_per_channel"] = each
        figures["balanced_speedup_over_pymor"] = each * channels / ours
        click.echo(f"pyMOR in a loop: {1e3 * each:.1f} ms per channel; the batch is {each * channels / ours:.1f} times faster")
    for count in [round(channels * share) for share in (1 / 6, 1 / 3, 2 / 3, 1)]:
        start = time.perf_counter()
        fixed_point = reduce_system(system[:count], order, "tlh2", taps)
        middle = time.perf_counter()
        refined = reduce_system(system[:count], order, "gradient", taps)
        end = time.perf_counter()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        row = {
            "channels": count,
            "tlh2_seconds": middle - start,
            "gradient_seconds": end - middle,
            "peak_memory_gib": peak,
            "tlh2_outcomes": fixed_point.outcome_counts,
            "gradient_outcomes": refined.outcome_counts,
            "tlh2_median_relative_error": float(fixed_point.relative_error.median()),
            "gradient_median_relative_error": float(refined.relative_error.median()),
        }
        growth.append(row)
        click.echo(
            f"{count:5d} channels: tlh2 {row['tlh2_seconds']:6.1f} s, gradient {row['gradient_seconds']:6.1f} s, "
            f"{1e3 * (end - start) / count:.1f} ms per channel, peak memory {peak:.2f} GiB; {refined.outcome_counts}"
        )
    figures["growth"] = growth
    if out is not None:
        out.write_text(json.dumps(figures, indent=2) + "\n")
        click.echo(f"written to {out}", file=sys.stderr)


if __name__ == "__main__":
    main()
