"""Write the tables of README.md and of pages in docs/ from the committed figures.

    python scripts/write_pages.py

It measures nothing.  Marks name the place of each table; a test compares pages and figures.  Two files have scripts of their own:
docs/tables.md (`reproduce_tables.py --render`) and README's picture (`before_after.py`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import builds_table
import click
import compare_legs
import compare_reductions
import devices_table
import f16_table
import imdb_table
import latency.table
import precision_table
import selection_study
import streams_table
import sweep_table
import synthetic_table
import table_text
import web_table
from reproduce_tables import ROOT, stored

DIGITS = ROOT / "models" / "digits" / "results"


@dataclass(frozen=True)
class Table:
    """A table of a page.

    Attributes
    ----------
    page
        Path from the repository's root.
    mark
        Name in ``<!-- mark -->`` and ``<!-- /mark -->``.
    render
        Returns it, from the committed figures.
    """

    page: str
    mark: str
    render: Callable[[], str]


def figures(file: Path) -> Any:
    """Return a committed JSON file."""
    return json.loads(file.read_text(encoding="utf-8"))


def _reviews(name: str) -> str:
    return imdb_table.markdown(imdb_table.all_figures(ROOT / "models" / name / "results"), others=name == "imdb")


TABLES = (
    Table("README.md", "models", lambda: table_text.overview(stored(ROOT / "models"))),
    Table("docs/results.md", "models", lambda: table_text.summary(stored(ROOT / "models"))),
    Table("docs/results.md", "calibration", lambda: table_text.methods(stored(ROOT / "models")["digits"])),
    Table("docs/results.md", "sweep", lambda: sweep_table.markdown(sweep_table.stored())),
    Table("docs/results.md", "precision", lambda: precision_table.markdown(figures(precision_table.FIGURES))),
    Table("docs/results.md", "modes", lambda: f16_table.markdown(f16_table.stored())),
    Table("models/f16/README.md", "modes", lambda: f16_table.markdown(f16_table.stored())),
    *(
        Table(page, mark, partial(_reviews, name))
        for name in ("imdb", *imdb_table.OTHERS)
        for page, mark in (("docs/results.md", f"reviews of {name}"), (f"models/{name}/README.md", "accuracies"))
    ),
    Table("docs/results.md", "retraining", lambda: table_text.retraining(stored(ROOT / "models"))),
    Table("docs/method.md", "reductions", compare_reductions.table),
    Table("docs/method.md", "legs", lambda: compare_legs.markdown(figures(compare_legs.RESULTS))),
    Table("docs/method.md", "signals", lambda: synthetic_table.study(synthetic_table.stored())),
    Table("docs/method.md", "mixtures", lambda: synthetic_table.mixtures(synthetic_table.stored())),
    Table("docs/method.md", "selection", lambda: selection_study.markdown(figures(ROOT / "docs" / "selection.json"))),
    Table("docs/speed.md", "latency", lambda: latency.table.markdown(figures(DIGITS / "latency.json"))),
    Table("docs/speed.md", "builds", lambda: builds_table.markdown(figures(ROOT / "docs" / "build.json"))),
    Table("docs/streaming.md", "streams", lambda: streams_table.markdown(figures(ROOT / "docs" / "streaming.json"))),
    Table("docs/devices.md", "devices", lambda: devices_table.markdown(figures(ROOT / "docs" / "devices.json"))),
    Table("docs/devices.md", "web", lambda: web_table.markdown(figures(ROOT / "docs" / "web.json"))),
    Table("docs/devices.md", "runtimes", lambda: devices_table.runtimes(figures(ROOT / "docs" / "runtimes.json"))),
    Table("docs/devices.md", "budgets", lambda: devices_table.budgets(figures(ROOT / "docs" / "budgets.json"))),
    Table("docs/devices.md", "processors", lambda: devices_table.processors(figures(ROOT / "docs" / "processors.json"))),
)
"""Every table that this script writes."""


def with_table(page: str, mark: str, table: str) -> str:
    """Return the page with this table between its marks.

    Raises
    ------
    SystemExit
        If the page has no such marks.
    """
    before, after = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    if not re.search(f"{before}\n.*?{after}", page, re.DOTALL):
        raise SystemExit(f"The page has no {before} ... {after} to put the table between.")
    return re.sub(f"{before}\n.*?{after}", lambda _: f"{before}\n{table.rstrip()}\n{after}", page, flags=re.DOTALL)


@click.command(help=__doc__)
def main() -> None:
    for table in TABLES:
        page = ROOT / table.page
        page.write_text(with_table(page.read_text(encoding="utf-8"), table.mark, table.render()), encoding="utf-8")
        click.echo(f"{table.page}: {table.mark}")


if __name__ == "__main__":
    main()
