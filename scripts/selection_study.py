"""Try the promise of `--max-drop` on samples that it has not seen, over random splits of the held-out part.

    python scripts/selection_study.py [--models digits,fashion,keywords] [--limit 1.0] [--splits 20]

Models of the ladder depend on no split, so each is built once, when a split first looks at it; every split then chooses by the
function that builds choose by, and its other half judges.  Answers go to --cache as they come, so that interrupted runs go on;
results to docs/selection.json.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from ssm2edge.cache import Store
from ssm2edge.loading import open_source
from ssm2edge.options import Options
from ssm2edge.orders.judging import drop_shown
from ssm2edge.orders.search import Candidates
from ssm2edge.orders.selection import select, start_of
from ssm2edge.pipeline import load
from ssm2edge.stages.choosing import halves
from ssm2edge.stages.progress import silent
from ssm2edge.stages.reduce import judged_of, reducer_of
from ssm2edge.stages.resolve import resolve
from ssm2edge.verification.paired import Evidence

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "selection.json"

Answers = Mapping[str, NDArray[Any]]


class Ladder:
    """The models of all sizes, and what they answer on every held-out sample."""

    def __init__(self, name: str, limit: float, cache: Path) -> None:
        task = load(open_source(str(ROOT / "models" / name)))
        # All held-out samples are answered; the splits share them out later.
        samples = dataclasses.replace(task.samples, validation=task.held_out, validation_labels=task.samples.labels)
        task, options, _ = resolve(dataclasses.replace(task, samples=samples), Options(max_drop=limit))
        self.labels, self._place = task.samples.labels, cache / name
        self._place.mkdir(parents=True, exist_ok=True)
        store = Store(cache / "stages")
        self._judged = judged_of(task, options, reducer_of(task, store), store, silent)
        self.original = self._judged.original
        self._candidates = Candidates(self._judged, lambda step: None)
        self.rungs, self.most = self._candidates.rungs, self._candidates.most

    def answers(self, budget: int) -> Answers:
        """Return the answers of the model of a size."""
        file = self._place / f"{budget}.npz"
        if not file.exists():
            start = time.monotonic()
            orders = self._candidates.orders(budget)
            answers: Mapping[str, Any] = self._judged.answers(self._candidates.reducer.plain(orders))
            np.savez(file, **answers)
            click.echo(f"{self._place.name}: {budget} states, {orders}: {time.monotonic() - start:.0f} s")
        with np.load(file) as stored:
            return {name: stored[name] for name in stored.files}


def rows(values: Answers, places: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Some samples of every output."""
    return {name: value[places] for name, value in values.items()}


def shown_on(ladder: Ladder, places: NDArray[np.int64]) -> Callable[[int, float], Evidence]:
    """Return the evidence that these samples give on a size."""
    labels, original = rows(ladder.labels, places), rows(ladder.original, places)
    return lambda budget, confidence: drop_shown(labels, original, rows(ladder.answers(budget), places), confidence)


def study(name: str, limit: float, confidence: float, splits: int, cache: Path) -> dict[str, Any]:
    """Choose on one half and judge on the other, for every split."""
    ladder = Ladder(name, limit, cache)
    count = len(next(iter(ladder.original.values())))
    found: list[dict[str, Any]] = []
    for seed in range(splits):
        choosing, judging = halves(count, seed)
        start = start_of(ladder.rungs, ladder.most)
        selection = select(ladder.rungs, start, shown_on(ladder, choosing), limit, confidence)
        if selection.size is None:
            found.append({"seed": seed, "states": ladder.most, "chosen_on": None, "bound": None, "judged": 0.0})
            continue
        evidence = selection.evidence[selection.size]
        judged = shown_on(ladder, judging)(selection.size, confidence).loss
        found.append(
            {"seed": seed, "states": selection.size, "chosen_on": evidence.loss, "bound": evidence.bound, "judged": judged}
        )
    held = sum(entry["judged"] <= limit for entry in found)
    click.echo(f"{name}: {held} of {splits} hold; states {[entry['states'] for entry in found]} of {ladder.most}")
    return {"samples": count, "states": ladder.most, "limit": limit, "confidence": confidence, "held": held, "splits": found}


def markdown(known: dict[str, Any]) -> str:
    """The study as a table."""
    lines = [
        "| model | samples: choosing, judging | splits that hold | drop on the judging half: mean, largest "
        "| states kept: median, range | of |",
        "|---|---|---|---|---|---|",
    ]
    for name, found in known.items():
        drops = [entry["judged"] for entry in found["splits"]]
        states = [entry["states"] for entry in found["splits"]]
        half = found["samples"] // 2
        lines.append(
            f"| {name} | {half}, {found['samples'] - half} | {found['held']} of {len(drops)} | {np.mean(drops):.2f}, "
            f"{max(drops):.2f} | {int(np.median(states)):,}, {min(states):,} to {max(states):,} | {found['states']:,} |"
        )
    first = next(iter(known.values()))
    lines += ["", f"`--max-drop {first['limit']:g}`, confidence {first['confidence']:g}; points of accuracy."]
    return "\n".join(lines) + "\n"


@click.command(help=__doc__)
@click.option("--models", default="digits,fashion,keywords", show_default=True)
@click.option("--limit", default=1.0, show_default=True, help="Points of --max-drop.")
@click.option("--confidence", default=0.95, show_default=True)
@click.option("--splits", default=20, show_default=True)
@click.option("--cache", type=click.Path(path_type=Path), default=ROOT / "build" / "selection", show_default=False)
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS, show_default=False)
def main(models: str, limit: float, confidence: float, splits: int, cache: Path, out: Path) -> None:
    known: dict[str, Any] = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
    for name in models.split(","):
        known[name] = study(name, limit, confidence, splits, cache)
        out.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
