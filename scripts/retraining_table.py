"""The figures of finetune.py as a table.

python scripts/retraining_table.py [digits]
"""

from __future__ import annotations

import json
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MODELS = Path(__file__).resolve().parent.parent / "models"


@dataclass(frozen=True)
class Retraining:
    """Runs of one start, order and budget, that differ by their seeds.

    Attributes
    ----------
    start
        Initialisation.
    order, epochs, rate
        States of a system, passes over the training part, learning rate.
    before, after
        The metric on the held-out part, before and for each seed after it.
    loss
        Smallest loss on what the first seed holds back: by it the start is chosen, never by the held-out part.
    """

    start: str
    order: int
    epochs: int
    rate: float
    before: float
    after: tuple[float, ...]
    loss: float

    @property
    def mean(self) -> float:
        """The metric on the held-out part, mean over the seeds."""
        return statistics.mean(self.after)


def retrainings(results: dict[str, Any]) -> list[Retraining]:
    """What `finetune.py` has stored, by order, budget and start."""
    groups: dict[tuple[int, int, str, float], list[dict[str, Any]]] = {}
    for one in results["runs"]:
        groups.setdefault((one["order"], one["epochs"], one["initialisation"], one["learning_rate"]), []).append(one)
    found = []
    for (order, epochs, start, rate), runs in sorted(groups.items()):
        first = min(runs, key=lambda one: int(one["seed"]))
        after = tuple(one["held_out"] for one in runs)
        found.append(Retraining(start, order, epochs, rate, first["held_out_before"], after, min(first["held_back_loss"])))
    return found


def chosen(results: dict[str, Any], order: int, start: str | None = None) -> Retraining | None:
    """The retraining of an order that the held-back part chooses; of one start, or of all.

    Those of one budget are compared: as many epochs as most runs of the order have.
    """
    epochs = [one["epochs"] for one in results["runs"] if one["order"] == order]
    if not epochs:
        return None
    budget = statistics.mode(epochs)
    every = [one for one in retrainings(results) if (one.order, one.epochs) == (order, budget) and start in (None, one.start)]
    return min(every, key=lambda one: one.loss, default=None)


def markdown(results: dict[str, Any]) -> str:
    """Runs of the same order and budget, summarised over their seeds, and the original."""
    lines = [
        "| order | epochs | start | learning rate | seeds | held out before | held out after, mean (smallest to largest) |",
        "|---" * 7 + "|",
    ]
    lines += [
        f"| {one.order} | {one.epochs} | {one.start} | {one.rate:g} | {len(one.after)} | {one.before:.4f} "
        f"| {one.mean:.4f} ({min(one.after):.4f} to {max(one.after):.4f}) |"
        for one in retrainings(results)
    ]
    metric = "NRMSE" if results["metric"] == "nrmse" else "Accuracy"
    return "\n".join([*lines, "", f"{metric} of the original: {results['original']:.4f}."]) + "\n"


if __name__ == "__main__":
    model = sys.argv[1] if len(sys.argv) > 1 else "digits"
    print(markdown(json.loads((MODELS / model / "results" / "finetune.json").read_text(encoding="utf-8"))))
