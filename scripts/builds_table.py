"""The table of docs/speed.md on what builds take, from docs/build.json (`benchmark_build.py --growth`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ORDER = ("small", "layers", "channels", "states", "length", "matched", "long", "build")
"""Rows, as the script measures them."""

LISTED = 3
"""Longest stages that a row names."""


def markdown(builds: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the table."""
    lines = [
        "| layers x channels x states | sequences for calibration | steps | seconds | memory, GiB | the longest stages, s |",
        "|---|---|---|---|---|---|",
    ]
    lines += [_row(builds[name]) for name in ORDER if name in builds]
    alone = builds.get("reduction")
    if alone is not None:
        lines += [
            "",
            f"Reduction alone, of {alone['channels']:,} channels of {alone['states']} states at order {alone['order']}, on "
            f"{alone['threads']} threads: {alone['seconds']:.0f} s by the clock, {alone['cpu_seconds']:.0f} s computed.",
        ]
    return "\n".join(lines)


def _row(build: Mapping[str, Any]) -> str:
    size = f"{build['layers']} x {build['channels']} x {build['states']}"
    stages = sorted(build["stages"].items(), key=lambda stage: -stage[1]["cpu_seconds"])[:LISTED]
    longest = ", ".join(f"{name} {stage['cpu_seconds']:.0f}" for name, stage in stages)
    samples = f"{build['calibration']} of {build['length']:,}"
    return f"| {size} | {samples} | {build['steps']} | {build['cpu_seconds']:.0f} | {build['peak_gib']:.1f} | {longest} |"
