"""Retrained cells of a sweep: their figures, and the tables of them.

Start of a retraining is the way in which the build reduced the layers: a method, or `match`.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from table_figures import metric_of, way_of

from ssm2edge.artifact import open_manifest
from ssm2edge.artifact.sweep import CellRecord

EPOCHS = {"digits": 3, "fashion": 3, "activity": 10, "keywords": 3, "text": 3, "sysid": 30}
"""Passes over the training part, by model."""


@dataclass(frozen=True)
class Retraining:
    """Retrained artifacts of one start and order, that differ by their seeds.

    Attributes
    ----------
    start
        Way in which the layers were reduced before.
    order
        States of a system.
    after
        The metric on the held-out part, for each seed.
    """

    start: str
    order: int
    after: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean over the seeds."""
        return statistics.mean(self.after)


def retrained_cells(name: str, directory: Path, cells: Iterable[CellRecord]) -> dict[str, Any]:
    """Return the figures of the finished cells of a model that were retrained, and of its original; nothing without any."""
    found: dict[str, Any] = {}
    for cell in cells:
        if cell.status != "done" or "retrain" not in cell.options or "order" not in cell.options:
            continue
        manifest = open_manifest(directory / cell.directory / "manifest.json")
        ((_, judged),) = manifest.judged.items()
        found |= {"metric": metric_of(manifest), "original": judged.original, "epochs": EPOCHS[name]}
        run = {"start": way_of(cell), "order": cell.options["order"], "seed": cell.options.get("seed", 0)}
        found.setdefault("runs", []).append(run | {"held_out": judged.artifact})
    found.get("runs", []).sort(key=lambda run: (run["order"], run["start"], run["seed"]))
    return found


def retrainings(results: dict[str, Any]) -> list[Retraining]:
    """Return the stored runs by order and start."""
    groups: dict[tuple[int, str], list[float]] = {}
    for run in results["runs"]:
        groups.setdefault((run["order"], run["start"]), []).append(run["held_out"])
    return [Retraining(start, order, tuple(after)) for (order, start), after in sorted(groups.items())]


def retraining_of(results: dict[str, Any], order: int, start: str) -> Retraining | None:
    """Return the retraining of an order from a start, if there is one."""
    return next((one for one in retrainings(results) if (one.order, one.start) == (order, start)), None)


def markdown(results: dict[str, Any]) -> str:
    """Return the runs by order and start, summarised over their seeds, and the original."""
    lines = ["| order | start | seeds | held out, mean (smallest to largest) |", "|---" * 4 + "|"]
    lines += [
        f"| {one.order} | `{one.start}` | {len(one.after)} | {one.mean:.4f} ({min(one.after):.4f} to {max(one.after):.4f}) |"
        for one in retrainings(results)
    ]
    metric = "NRMSE" if results["metric"] == "nrmse" else "Accuracy"
    return "\n".join([*lines, "", f"{metric} of the original: {results['original']:.4f}; {results['epochs']} epochs."]) + "\n"
