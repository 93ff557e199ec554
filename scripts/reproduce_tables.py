"""Every figure of docs/tables.md: the reference models at a half to a thirty-second of their states, by every method.

    python scripts/reproduce_tables.py [--models digits,sysid,...] [--divisors 8,16,32,4,2] [--ways ...] [--seed 0]
    python scripts/reproduce_tables.py --deploy          # graphs, file sizes and latencies, on a quiet machine
    python scripts/reproduce_tables.py --render          # docs/tables.md and the pictures from the figures that are there

Figures go to models/<name>/results/tables.json as they come; what is there is not computed again unless --fresh is given or the
weights are others, so that interrupted runs go on.  ``--quick`` is for CI: tiny, a few cells of one model, into --results.  A
model whose samples are not shipped (models/text) needs them first: its README says how.
"""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import click
import torch
from synthetic_table import stored as synthetic
from synthetic_table import without_data
from table_cells import BOUNDED, CALIBRATED, METHODS, Cells
from table_picture import picture
from table_text import page

from ssm2edge.calibration import Matching
from ssm2edge.loading import open_source
from ssm2edge.pipeline import load

ROOT = Path(__file__).resolve().parent.parent
MODELS = ("digits", "fashion", "activity", "keywords", "text", "sysid")
DIVISORS = (8, 16, 32, 4, 2)
"""Of the states; those that the claims are about first."""


def read(results: Path, name: str) -> dict[str, Any]:
    """Figures of a model, as far as there are any."""
    file = results / name / "results" / "tables.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def stored(results: Path) -> dict[str, dict[str, Any]]:
    """All that the page is made of, by model; under ``retraining`` what `finetune.py` has measured of it.

    Under ``without_data`` is what `synthetic_signals.py` has.
    """
    known = {name: figures for name in MODELS if (figures := read(results, name))}
    for name, figures in known.items():
        figures["without_data"] = without_data(synthetic(), name)
        file = results / name / "results" / "finetune.json"
        if file.exists():
            figures["retraining"] = json.loads(file.read_text(encoding="utf-8"))
    return known


def write(results: Path, name: str, figures: dict[str, Any]) -> None:
    """Keep the figures of a model; a reader never sees half a file."""
    folder = results / name / "results"
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / "tables.json.part"
    unfinished.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    unfinished.replace(folder / "tables.json")


def digest(weights: Path) -> str:
    """SHA-256 of a weights file: figures are told of no other weights than theirs."""
    return hashlib.sha256(weights.read_bytes()).hexdigest()


def missing_cells(figures: dict[str, Any], ways: list[str], divisors: list[int], bounds: bool) -> list[tuple[str, int]]:
    """Ways and divisors that there are no figures for; with ``bounds`` also those that lack a bound."""

    def wanted(way: str, divisor: int) -> bool:
        cell = figures.get("cells", {}).get(f"{way} 1/{divisor}")
        return cell is None or (bounds and way in BOUNDED and not cell["bound"])

    return [(way, divisor) for divisor in divisors for way in ways if wanted(way, divisor)]


def fill(
    name: str, ways: list[str], divisors: list[int], deploy: bool, bounds: bool, matching: Matching, results: Path, fresh: bool
) -> None:
    """Compute what is missing of one model's figures."""
    source = open_source(str(ROOT / "models" / name))
    assert source.samples is not None
    if not source.samples.exists():
        click.echo(f"{name}: {source.samples.name} is not there; its README says how to prepare it.  Left out.")
        return
    assert source.weights is not None
    weights = digest(source.weights)
    figures = {} if fresh else read(results, name)
    if figures and figures.get("weights") != weights:
        click.echo(f"{name}: the figures are those of other weights, and are made anew.")
        figures = {}
    missing = missing_cells(figures, ways, divisors, bounds)
    undeployed = [divisor for divisor in divisors if deploy and f"1/{divisor}" not in figures.get("deployed", {})]
    if not missing and not undeployed and "original" in figures:
        return
    cells = Cells(load(source), matching)
    figures |= {"model": name, "weights": weights, "metric": source.metric}
    figures |= {"matching": {"steps": matching.steps, "seed": matching.seed}}
    if "original" not in figures:
        figures |= {"original": cells.original(), "cells": {}, "deployed": {}}
        write(results, name, figures)
    click.echo(f"{name}: original {figures['original']['value']:.4f}")
    for way, divisor in missing:
        cell = cells.reduced(way, divisor)
        figures["cells"][f"{way} 1/{divisor}"] = cell
        write(results, name, figures)
        click.echo(f"{name}: {way} 1/{divisor}: {cell['value']:.4f} ({cell['seconds']:.0f} s)")
    for divisor in undeployed:
        start = time.monotonic()
        figures["deployed"][f"1/{divisor}"] = cells.deployed(divisor)
        write(results, name, figures)
        click.echo(f"{name}: graphs at 1/{divisor} ({time.monotonic() - start:.0f} s)")


@click.command(help=__doc__)
@click.option("--models", default=",".join(MODELS), show_default=True)
@click.option("--divisors", default=",".join(map(str, DIVISORS)), show_default=True)
@click.option("--ways", default=",".join((*METHODS, *CALIBRATED)), show_default=True)
@click.option("--steps", default=Matching.steps, show_default=True, help="Steps of match.")
@click.option("--seed", default=0, show_default=True, help="Of match.")
@click.option("--threads", default=1, show_default=True)
@click.option("--deploy", is_flag=True, help="Export the graphs of every size and time them, too.")
@click.option("--bounds", is_flag=True, help="Compute those again whose bound is missing.")
@click.option("--render", is_flag=True, help="Only write the page and the pictures.")
@click.option("--quick", is_flag=True, help="A few cells of models/activity with two steps of match: a test, not a table.")
@click.option("--fresh", is_flag=True, help="Compute everything again.")
@click.option("--results", type=click.Path(path_type=Path), default=ROOT / "models", show_default=False, help="Where figures go.")
@click.option("--page", "target", type=click.Path(path_type=Path), default=ROOT / "docs" / "tables.md", show_default=False)
def main(
    models: str, divisors: str, ways: str, steps: int, seed: int, threads: int, deploy: bool, bounds: bool, render: bool,
    quick: bool, fresh: bool, results: Path, target: Path,
) -> None:  # fmt: skip
    torch.set_num_threads(threads)
    names = [name for name in models.split(",") if name]
    if quick:
        if results == ROOT / "models":
            raise click.UsageError("quick figures are no results: name another place with --results and --page.")
        names, divisors, ways, steps, deploy = ["activity"], "16", "balanced,gradient,spectrum,match", 2, True
    if not render:
        sizes = [int(text) for text in divisors.split(",")]
        for name in names:
            fill(name, ways.split(","), sizes, deploy, bounds, Matching(steps=steps, seed=seed), results, fresh)
    known = stored(results)
    for name, figures in known.items():
        (results / name / "results" / "tables.svg").write_text(picture(figures), encoding="utf-8")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(page(known), encoding="utf-8")
    click.echo(f"wrote {target} and {len(known)} pictures")


if __name__ == "__main__":
    main()
