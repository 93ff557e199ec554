"""The table of streams in docs/streaming.md, made of docs/streaming.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

COLUMNS = ("largest", "first", "last", "stream_first", "stream_last", "offline_first", "offline_last")


def markdown(figures: Mapping[str, Any]) -> str:
    """The largest error of all ways of pushing and all outputs, a line for each model and block size."""
    lines = [
        "| model | block | stream against offline, largest | first | last | stream against float64, first | last "
        "| offline against float64, first | last |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, found in figures["models"].items():
        rows = found.get("rows", [])
        for block in sorted({row["block"] for row in rows}):
            worst = (max(row[column] for row in rows if row["block"] == block) for column in COLUMNS)
            lines.append(f"| {name} | {block} | " + " | ".join(f"{error:.1e}" for error in worst) + " |")
    batch = max(found["batch_of_64"] for found in figures["models"].values() if "rows" in found)
    lines += ["", f"64 streams in one batch differ from the same streams alone by at most {batch:.1e}."]
    return "\n".join(lines) + "\n"
