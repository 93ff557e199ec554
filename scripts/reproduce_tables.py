"""Every figure of docs/tables.md, from one sweep: the reference models at a half to a thirty-second of their states.

    python scripts/finetune.py                            # fetches what retrained cells are trained on
    ssm2edge sweep models/tables.toml                     # 419 builds, hours; goes on where it was interrupted
    python scripts/reproduce_tables.py --collect build/tables      # their figures into models/<name>/results/tables.json
    python scripts/reproduce_tables.py --time build/tables         # latencies of `match`, on a quiet machine
    python scripts/reproduce_tables.py                    # docs/tables.md and the pictures from the figures that are there

A model whose samples are not shipped (models/text) needs them first: its README says how.  ``--collect`` takes any sweep of the
models: cells whose layers keep an equal share of the states count.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import click
from retraining_table import retrained_cells
from sweep_table import FIGURES, of_the_picture
from synthetic_table import stored as synthetic
from synthetic_table import without_data
from table_figures import figures_of, latencies
from table_picture import picture
from table_text import page

from ssm2edge.artifact.sweep import SweepRecord, read_sweep
from ssm2edge.artifact.typed import plain

ROOT = Path(__file__).resolve().parent.parent
MODELS = ("digits", "fashion", "activity", "keywords", "text", "sysid")


def read(results: Path, name: str) -> dict[str, Any]:
    """Return the figures of a model, as far as there are any."""
    file = results / name / "results" / "tables.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def stored(results: Path) -> dict[str, dict[str, Any]]:
    """Return all that the page is made of, by model; under ``retraining`` its retrained cells.

    Under ``without_data`` is what `synthetic_signals.py` has.
    """
    known = {name: figures for name in MODELS if (figures := read(results, name))}
    for name, figures in known.items():
        figures["without_data"] = without_data(synthetic(), name)
        file = results / name / "results" / "finetune.json"
        if file.exists():
            figures["retraining"] = json.loads(file.read_text(encoding="utf-8"))
    return known


def write(results: Path, name: str, figures: dict[str, Any], file: str = "tables.json") -> None:
    """Keep figures of a model; a reader never sees half a file."""
    folder = results / name / "results"
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f"{file}.part"
    unfinished.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    unfinished.replace(folder / file)


def digest(weights: Path) -> str:
    """Return the SHA-256 of a weights file: figures are those of no other weights."""
    return hashlib.sha256(weights.read_bytes()).hexdigest()


def collect(directory: Path, record: SweepRecord, results: Path) -> None:
    """Write the figures of every model of a sweep; latencies of graphs of the same sizes stay."""
    for name in dict.fromkeys(cell.model for cell in record.cells):
        own = [cell for cell in record.cells if cell.model == name]
        if trained := retrained_cells(name, directory, own):
            write(results, name, trained, "finetune.json")
            click.echo(f"{name}: {len(trained['runs'])} retrained cells")
        found = figures_of(directory, own)
        if not found["cells"]:
            continue
        before = read(results, name).get("deployed", {})
        for share, graphs in found["deployed"].items():
            timed = before.get(share, {})
            if timed.get("bytes") == graphs["bytes"]:
                graphs |= {key: value for key, value in timed.items() if key not in graphs}
        write(results, name, {"model": name, "weights": digest(ROOT / "models" / name / "weights.safetensors"), **found})
        click.echo(f"{name}: {len(found['cells'])} cells; original {found['original']['value']:.4f}")


def time_graphs(directory: Path, results: Path) -> None:
    """Measure the latencies of every artifact that `match` made, one after the other."""
    for name in MODELS:
        figures = read(results, name)
        for share, graphs in figures.get("deployed", {}).items():
            graphs |= latencies(ROOT / "models" / name, directory / graphs["directory"])
            write(results, name, figures)
            click.echo(f"{name} {share}: {graphs['seconds']['offline'] * 1e3:.2f} ms")


@click.command(help=__doc__)
@click.option("--collect", "sweep", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Directory of a sweep.")
@click.option("--time", "timed", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Directory of a sweep.")
@click.option("--results", type=click.Path(path_type=Path), default=ROOT / "models", show_default=False, help="Place of figures.")
@click.option("--page", "target", type=click.Path(path_type=Path), default=ROOT / "docs" / "tables.md", show_default=False)
def main(sweep: Path | None, timed: Path | None, results: Path, target: Path) -> None:
    if sweep is not None:
        record = read_sweep(sweep)
        collect(sweep, record, results)
        if results == ROOT / "models" and (drawn := of_the_picture(plain(record))) is not None:
            FIGURES.write_text(json.dumps(drawn, indent=1) + "\n", encoding="utf-8")
    if timed is not None:
        time_graphs(timed, results)
    known = stored(results)
    for name, figures in known.items():
        (results / name / "results" / "tables.svg").write_text(picture(figures), encoding="utf-8")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(page(known), encoding="utf-8")
    click.echo(f"wrote {target} and {len(known)} pictures")


if __name__ == "__main__":
    main()
