"""README's picture: a shipped model before and after, from models/keywords/results/tables.json.

    python scripts/before_after.py

Writes docs/before-after.svg.  A bar of the original is drawn at full length, the bar of the artifact in proportion to it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import click
from table_picture import text

ROOT = Path(__file__).resolve().parent.parent
FIGURES = ROOT / "models" / "keywords" / "results" / "tables.json"
PICTURE = ROOT / "docs" / "before-after.svg"

SIZE = "1/8"
WIDTH, HEIGHT = 760, 330
LEFT, LONGEST, TOP, ROW, BAR = 190, 380, 74, 62, 20
BEFORE, AFTER = "#a9b0b7", "#0b5fb0"


@dataclass(frozen=True)
class Row:
    """A quantity before and after the build.

    Attributes
    ----------
    title, unit
        Name of the quantity and what it counts.
    before, after
        Its values.
    before_text, after_text
        The same for readers.
    """

    title: str
    unit: str
    before: float
    after: float
    before_text: str
    after_text: str


def rows(figures: dict[str, Any]) -> list[Row]:
    """Return states, bytes, time and accuracy of the original and of the artifact of `SIZE`."""
    original, cell, graphs = figures["original"], figures["cells"][f"match {SIZE}"], figures["deployed"][SIZE]
    states = original["states"], cell["states"]
    sizes = original["weights_bytes"], graphs["bytes"]["stream"]
    times = graphs["seconds"]["original"], graphs["seconds"]["offline"]
    rates = original["value"], cell["value"]
    return [
        Row("states", "numbers that carry the past", *states, *(f"{count:,}" for count in states)),
        Row("size on disk", "weights; stream.onnx", *sizes, *(f"{count / 1000:.0f} KB" for count in sizes)),
        Row("time", "one recording, one thread", *times, *(f"{seconds * 1e3:.2f} ms" for seconds in times)),
        Row("accuracy", f"{original['samples']} held-out recordings", *rates, *(f"{100 * rate:.1f} %" for rate in rates)),
    ]


def picture(figures: dict[str, Any]) -> str:
    """Return the picture as SVG.

    Parameters
    ----------
    figures
        As `reproduce_tables.py` stores them.
    """
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'font-family="DejaVu Sans, Verdana, Arial, sans-serif" fill="#222">',
        f"<title>{escape(figures['model'])} before and after</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        text(20, 30, "A model of ten spoken words, before and after", 16, font_weight="bold"),
        text(LEFT, 54, "trained PyTorch model", fill="#5f666d", font_weight="bold"),
        text(LEFT + 190, 54, "artifact with an eighth of the states", fill=AFTER, font_weight="bold"),
    ]
    for place, row in enumerate(rows(figures)):
        top = TOP + ROW * place
        parts += [text(20, top + 17, row.title, 14, font_weight="bold"), text(20, top + 36, row.unit, 11, fill="#555")]
        for offset, share, label, colour in (
            (0, 1.0, row.before_text, BEFORE),
            (BAR + 3, row.after / row.before, row.after_text, AFTER),
        ):
            width = LONGEST * share
            parts.append(f'<rect x="{LEFT}" y="{top + offset}" width="{width:.1f}" height="{BAR}" fill="{colour}"/>')
            parts.append(text(LEFT + width + 8, top + offset + 15, label, 13))
    return "\n".join([*parts, "</svg>"]) + "\n"


@click.command(help=__doc__)
def main() -> None:
    PICTURE.write_text(picture(json.loads(FIGURES.read_text(encoding="utf-8"))), encoding="utf-8")
    click.echo(f"wrote {PICTURE}")


if __name__ == "__main__":
    main()
