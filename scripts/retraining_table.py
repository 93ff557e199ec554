"""The figures of finetune.py as a table.

python scripts/retraining_table.py [digits]
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

MODELS = Path(__file__).resolve().parent.parent / "models"


def markdown(results: dict[str, Any]) -> str:
    """Runs of the same order and budget, summarised over their seeds, and the original."""
    runs = results["runs"]
    groups: dict[tuple[int, int, str, float], list[dict[str, Any]]] = {}
    for one in runs:
        groups.setdefault((one["order"], one["epochs"], one["initialisation"], one["learning_rate"]), []).append(one)
    lines = [
        "| order | epochs | start | learning rate | seeds | held out before | held out after, mean (smallest to largest) |",
        "|---" * 7 + "|",
    ]
    for (order, epochs, name, rate), members in sorted(groups.items()):
        after = [one["held_out"] for one in members]
        before = members[0]["held_out_before"]
        lines.append(
            f"| {order} | {epochs} | {name} | {rate:g} | {len(after)} | {before:.4f} "
            f"| {statistics.mean(after):.4f} ({min(after):.4f} to {max(after):.4f}) |"
        )
    return "\n".join([*lines, "", f"Accuracy of the original: {results['original']:.4f}."]) + "\n"


if __name__ == "__main__":
    model = sys.argv[1] if len(sys.argv) > 1 else "digits"
    print(markdown(json.loads((MODELS / model / "results" / "finetune.json").read_text(encoding="utf-8"))))
