"""Try the promise of `--max-drop` on samples that it has not seen, over random splits of the held-out part.

    python scripts/selection_study.py [--models digits,fashion,keywords] [--limit 1.0] [--splits 20]

Models of the ladder depend on no split, so each is built once, when a split first looks at it; every split then chooses by the
function that builds choose by, and its other half judges.  With --quick layers keep equal shares by balanced truncation, up to
an eighth of the states calibrated by `spectrum`, or by 60 steps of `match`: other models than a build's, chosen and judged
alike.  Answers go to --cache as they come, so that interrupted runs go on; results to docs/selection.json.
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
from ssm2edge.orders.budget import all_states
from ssm2edge.orders.judging import drop_shown
from ssm2edge.orders.search import Candidates, Reducer
from ssm2edge.orders.selection import START, ladder_of, select, start_of
from ssm2edge.pipeline import load
from ssm2edge.stages.choosing import halves
from ssm2edge.stages.progress import silent
from ssm2edge.stages.reduce import judged_of, reducer_of
from ssm2edge.stages.resolve import resolve
from ssm2edge.verification.paired import Evidence

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "selection.json"

Answers = Mapping[str, Any]


class Ladder:
    """The models of all sizes, and what they answer on every held-out sample."""

    def __init__(self, name: str, limit: float, cache: Path, quick: str) -> None:
        task = load(open_source(str(ROOT / "models" / name)))
        # All held-out samples are answered; the splits share them out later.
        samples = dataclasses.replace(task.samples, validation=task.held_out, validation_labels=task.samples.labels)
        task, options, _ = resolve(dataclasses.replace(task, samples=samples), options_of(limit, quick))
        self.labels, self._place = task.samples.labels, cache / (f"{name}-{quick}" if quick else name)
        self._place.mkdir(parents=True, exist_ok=True)
        store = Store(cache / "stages")
        self._judged = judged_of(task, options, reducer_of(task, store), store, silent)
        self.original = self._judged.original
        self.rungs, self.most = ladder_of(task.systems), all_states(task.systems)
        self._quick_way = quick
        self._candidates = None if quick else Candidates(self._judged, lambda step: None)
        self._reducer = Reducer(self._judged) if self._candidates is None else self._candidates.reducer

    def answers(self, budget: int) -> Answers:
        """Return the answers of the model of a size."""
        file = self._place / f"{budget}.npz"
        if not file.exists():
            start = time.monotonic()
            orders, answers = self._quick(budget) if self._candidates is None else self._built(self._candidates, budget)
            found: dict[str, Any] = dict(answers)
            np.savez(file, **found)
            click.echo(f"{self._place.name}: {budget} states, {orders}: {time.monotonic() - start:.0f} s")
        with np.load(file) as stored:
            return {name: stored[name] for name in stored.files}

    def _built(self, candidates: Candidates, budget: int) -> tuple[dict[str, int], Answers]:
        orders = candidates.orders(budget)
        return orders, self._judged.answers(self._reducer.plain(orders))

    def _quick(self, budget: int) -> tuple[dict[str, int], Answers]:
        systems = self._judged.task.systems
        orders = {name: max(1, system.order * budget // self.most) for name, system in systems.items()}
        judged = dataclasses.replace(self._judged, finish=None)
        if budget > 1.5 * START * self.most:
            # Near all of the states there is nothing to calibrate.
            return orders, judged.answers(self._reducer.plain(orders))
        if self._quick_way == "match":
            return orders, self._judged.answers(self._reducer.plain(orders))
        return orders, judged.answers(self._reducer(orders))


def options_of(limit: float, quick: str) -> Options:
    """Return what a build with this limit is asked for."""
    return Options(max_drop=limit, method="balanced", calibration_steps=60) if quick else Options(max_drop=limit)


def rows(values: Answers, places: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Some samples of every output."""
    return {name: value[places] for name, value in values.items()}


def shown_on(ladder: Ladder, places: NDArray[np.int64]) -> Callable[[int, float], Evidence]:
    """Return the evidence that these samples give on a size."""
    labels, original = rows(ladder.labels, places), rows(ladder.original, places)
    return lambda budget, confidence: drop_shown(labels, original, rows(ladder.answers(budget), places), confidence)


def study(name: str, limit: float, confidence: float, splits: int, cache: Path, quick: str) -> dict[str, Any]:
    """Choose on one half and judge on the other, for every split."""
    ladder = Ladder(name, limit, cache, quick)
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
    return {
        "samples": count,
        "states": ladder.most,
        "limit": limit,
        "confidence": confidence,
        "held": held,
        "splits": found,
        "quick": quick,
    }


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
    note = f"`--max-drop {first['limit']:g}`, confidence {first['confidence']:g}; points of accuracy."
    for way in sorted({found["quick"] for found in known.values()} - {""}):
        names = ", ".join(name for name, found in known.items() if found["quick"] == way)
        note += f" Models of {names} have layers of equal shares, by balanced truncation and `{way}`."
    lines += ["", note]
    return "\n".join(lines) + "\n"


@click.command(help=__doc__)
@click.option("--models", default="digits,fashion,keywords", show_default=True)
@click.option("--limit", default=1.0, show_default=True, help="Points of --max-drop.")
@click.option("--confidence", default=0.95, show_default=True)
@click.option("--splits", default=20, show_default=True)
@click.option("--quick", type=click.Choice(["", "spectrum", "match"]), default="", help="Calibration of layers of equal shares.")
@click.option("--cache", type=click.Path(path_type=Path), default=ROOT / "build" / "selection", show_default=False)
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS, show_default=False)
def main(models: str, limit: float, confidence: float, splits: int, quick: str, cache: Path, out: Path) -> None:
    known: dict[str, Any] = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
    for name in models.split(","):
        known[name] = study(name, limit, confidence, splits, cache, quick)
        out.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
