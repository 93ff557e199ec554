"""Picture of accuracy over the states kept, from models/digits/results/calibration.json.

    python scripts/calibration_picture.py

Writes models/digits/results/calibration.svg.  What the figures lack yet is left out.  The hollow markers are published figures
of other models on other tasks, for the shape of their decline and not for a comparison of heights.
"""

from __future__ import annotations

import json
import math
import re
from html import escape
from pathlib import Path
from statistics import mean
from typing import Any

import click

RESULTS = Path(__file__).resolve().parent.parent / "models" / "digits" / "results"
STATES = 64
# Colour, width and dashes of a method's line; in the order in which they are drawn.
STYLES = {
    "last": ("#8d9399", 1.3, ""),
    "modal": ("#a08f86", 1.3, "6 3"),
    "aire": ("#7f95a6", 1.3, "2 3"),
    "singular_perturbation": ("#9a93a8", 1.3, "8 3 2 3"),
    "balanced": ("#6f767d", 1.3, ""),
    "tlh2": ("#84998a", 1.3, "6 3"),
    "gradient": ("#4f565c", 1.3, ""),
    "spectrum": ("#d9780f", 3.0, ""),
    "match": ("#0b5fb0", 3.0, ""),
}
# Accuracy in % with 60, 70, 80 and 90 % of the states removed; unidirectional S5.
# Schwerdtner, Berman and Peherstorfer, NeurIPS 2025 (arXiv 2510.22951).
KEPT = (0.4, 0.3, 0.2, 0.1)
LITERATURE = {
    ("sMNIST", "balanced truncation"): (91.3, 13.4, 11.1, 10.6),
    ("sMNIST", "LAST"): (95.1, 89.2, 62.4, 27.7),
    ("sMNIST", "Hankel-regularised training"): (99.5, 99.2, 98.9, 87.0),
    ("IMDb", "balanced truncation"): (71.5, 71.0, 51.3, 50.0),
    ("IMDb", "LAST"): (88.5, 85.1, 80.3, 57.1),
    ("IMDb", "Hankel-regularised training"): (87.3, 87.2, 87.0, 86.4),
}
TASKS = {"sMNIST": "#a3195b", "IMDb": "#0a8484"}
CHANCE = {"sMNIST": 10, "IMDb": 50}
# Corners of the markers, in half widths.
SHAPES = {
    "balanced truncation": ((-1, 0.8), (1, 0.8), (0, -1)),
    "LAST": ((-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)),
    "Hankel-regularised training": ((0, -1.2), (1.2, 0), (0, 1.2), (-1.2, 0)),
}
WIDTH, HEIGHT = 1000, 640
LEFT, FIRST, RIGHT, TOP, BOTTOM = 66, 258, 728, 76, 556  # FIRST: two states kept; labels stand between LEFT and FIRST
LEGEND = 752
LINE = 17  # least distance between labels


def across(share: float) -> float:
    """Position of a share of the states, on a logarithmic scale from 2/64 to 1."""
    smallest = math.log(2 / STATES)
    return RIGHT - (RIGHT - FIRST) * math.log(share) / smallest


def down(percent: float) -> float:
    """Position of an accuracy in %."""
    return BOTTOM - (BOTTOM - TOP) * percent / 100


def curves(known: dict[str, Any]) -> dict[str, dict[int, list[float]]]:
    """Accuracies in % by method and order; several where there are several seeds, those of most calibration sequences."""
    found: dict[str, dict[int, list[float]]] = {name: {} for name in STYLES}
    calibrated = [
        (match[1], int(match[2]), int(match[3]), value)
        for key, value in known.items()
        if (match := re.fullmatch(r"(match|spectrum) (\d+) seed \d+ sequences (\d+)", key))
    ]
    most = max((sequences for _, _, sequences, _ in calibrated), default=0)
    for name, order, sequences, value in calibrated:
        if sequences == most:
            found[name].setdefault(order, []).append(100 * value)
    for key, value in known.items():
        if (match := re.fullmatch(r"(\w+) (\d+)", key)) and match[1] in found:
            found[match[1]][int(match[2])] = [100 * value]
    return {name: dict(sorted(points.items())) for name, points in found.items() if points}


def spread(wanted: list[float], lowest: float, highest: float) -> list[float]:
    """Positions near the wanted ones (ascending), at least LINE apart and within bounds."""
    placed: list[float] = []
    for position in wanted:
        placed.append(max(position, placed[-1] + LINE if placed else lowest))
    limit = highest
    for index in reversed(range(len(placed))):
        placed[index] = min(placed[index], limit)
        limit = placed[index] - LINE
    return placed


def text(x: float, y: float, words: str, size: int = 12, **attributes: str) -> str:
    """A line of text; underscores in attribute names are hyphens."""
    extra = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in attributes.items())
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}"{extra}>{escape(words)}</text>'


def stroke(points: list[tuple[float, float]], colour: str, width: float, dashes: str = "") -> str:
    """A line through points."""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    extra = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"{extra}/>'


def hollow(x: float, y: float, task: str, method: str, kind: str, title: str = "") -> str:
    """A marker of the literature."""
    corners = " ".join(f"{x + 5.5 * right:.1f},{y + 5.5 * below:.1f}" for right, below in SHAPES[method])
    told = f"<title>{escape(title)}</title>" if title else ""
    return f'<polygon class="{kind}" points="{corners}" fill="none" stroke="{TASKS[task]}" stroke-width="1.6">{told}</polygon>'


def axes() -> list[str]:
    """Grid, ticks and names of the axes."""
    parts = []
    for percent in range(0, 101, 10):
        y = down(percent)
        parts.append(stroke([(LEFT, y), (RIGHT, y)], "#e6e8ea" if percent else "#555", 1))
        parts.append(text(LEFT - 8, y + 4, str(percent), text_anchor="end"))
    for order in (2, 4, 8, 16, 32, 64):
        x = across(order / STATES)
        parts.append(stroke([(x, TOP), (x, BOTTOM)], "#e6e8ea", 1))
        parts.append(text(x, BOTTOM + 19, f"{order}/{STATES}", text_anchor="middle"))
        parts.append(text(x, BOTTOM + 35, f"{100 * order / STATES:g} %", 11, text_anchor="middle", fill="#666"))
    parts.append(text((FIRST + RIGHT) / 2, BOTTOM + 60, "share of the states kept per channel", 13, text_anchor="middle"))
    middle = (TOP + BOTTOM) / 2
    parts.append(text(22, middle, "accuracy in %", 13, text_anchor="middle", transform=f"rotate(-90 22 {middle:.1f})"))
    return parts


def lines(found: dict[str, dict[int, list[float]]]) -> list[str]:
    """The methods' lines, points and direct labels."""
    parts = []
    starts: list[tuple[float, float, str]] = []
    for name in (name for name in STYLES if name in found):
        colour, width, dashes = STYLES[name]
        places = [(across(order / STATES), down(mean(values))) for order, values in found[name].items()]
        parts.append(stroke(places, colour, width, dashes))
        for (x, y), (order, values) in zip(places, found[name].items(), strict=True):
            if len(values) > 1:
                parts.append(stroke([(x, down(min(values))), (x, down(max(values)))], colour, 1.5))
            title = f"{name}, {order} of {STATES} states: {mean(values):.2f} %"
            title += f" ({min(values):.2f} to {max(values):.2f} over {len(values)} seeds)" if len(values) > 1 else ""
            radius = 5 if width > 2 else 2.6
            circle = f'<circle class="point" cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}">'
            parts.append(f"{circle}<title>{escape(title)}</title></circle>")
        starts.append((places[0][1], places[0][0], name))
    starts.sort()
    heights = spread([y for y, _, _ in starts], TOP + LINE, BOTTOM - LINE / 2)
    for (y, x, name), height in zip(starts, heights, strict=True):
        colour, width, _ = STYLES[name]
        parts.append(stroke([(x - 6, y), (FIRST - 30, height), (FIRST - 35, height)], colour, 0.8))
        bold = "bold" if width > 2 else "normal"
        shade = colour if width > 2 else "#4a4f54"
        # The grid must not strike the name through.
        from_left = max(FIRST - 39 - 8.5 * len(name), LEFT)
        parts.append(
            f'<rect x="{from_left:.1f}" y="{height - 7:.1f}" width="{FIRST - 39 - from_left:.1f}" height="14" fill="white"/>'
        )
        parts.append(text(FIRST - 39, height + 4, name, 13 if width > 2 else 12, text_anchor="end", fill=shade, font_weight=bold))
    return parts


def others() -> list[str]:
    """The literature's markers and their legend."""
    parts = [
        hollow(across(kept), down(value), task, method, "other", f"{task}, {method}, {100 * kept:.0f} % kept: {value} %")
        for (task, method), values in LITERATURE.items()
        for kept, value in zip(KEPT, values, strict=True)
    ]
    y = TOP + 104
    parts.append(text(LEGEND, y, "Hollow: other models' figures", 13, font_weight="bold"))
    for words in ("not comparable in height, only in", "how they fall: unidirectional S5,", "share of the states of a layer"):
        y += LINE
        parts.append(text(LEGEND, y, words, fill="#555"))
    for task in TASKS:
        y += 28
        parts.append(text(LEGEND, y, f"{task} (chance: {CHANCE[task]} %)", 12, font_weight="bold", fill=TASKS[task]))
        for method in (method for other, method in LITERATURE if other == task):
            y += 20
            parts.append(hollow(LEGEND + 8, y - 4, task, method, "key"))
            parts.append(text(LEGEND + 24, y, method))
    for words in ("Schwerdtner, Berman, Peherstorfer,", "NeurIPS 2025, arXiv 2510.22951"):
        y += LINE if words.startswith("Neur") else 28
        parts.append(text(LEGEND, y, words, 11, fill="#555"))
    return parts


def picture(known: dict[str, Any]) -> str:
    """The figures as SVG.

    Parameters
    ----------
    known : dict
        Accuracies from 0 to 1 as scripts/calibration_table.py stores them; keys that are not there are left out.

    Returns
    -------
    str
        A file of its own: no fonts, styles or scripts from elsewhere.
    """
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'font-family="DejaVu Sans, Verdana, Arial, sans-serif" fill="#222">',
        "<title>Accuracy of models/digits over the share of states kept</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        text(LEFT, 30, "Accuracy over the share of the states kept", 18, font_weight="bold"),
        *axes(),
    ]
    below = "models/digits: S4D on MNIST digits read pixel by pixel"
    if "held_out" in known:
        below += f", {known['held_out']} held out"
    parts.append(text(LEFT, 51, below, 13, fill="#555"))
    parts.append(text(LEGEND, TOP + 10, "Filled: this package, no labels", 13, font_weight="bold"))
    for line, words in enumerate(
        ("spectrum and match start from gradient", "and see unlabelled samples;", "match: mean over seeds")
    ):
        parts.append(text(LEGEND, TOP + 28 + 16 * line, words, 11, fill="#555"))
    if "original" in known:
        y = down(100 * known["original"])
        parts.append(stroke([(FIRST, y), (RIGHT, y)], "#222", 1.2, "1 3"))
        title = f"original, {STATES} of {STATES} states: {100 * known['original']:.2f} %"
        parts.append(f'<circle class="point" cx="{RIGHT}" cy="{y:.1f}" r="4" fill="#222"><title>{title}</title></circle>')
        parts.append(text(RIGHT - 8, y + 18, f"original {100 * known['original']:.1f} %", text_anchor="end"))
    return "\n".join([*parts, *others(), *lines(curves(known)), "</svg>"]) + "\n"


@click.command(help=__doc__)
@click.option("--out", type=click.Path(path_type=Path), default=RESULTS / "calibration.svg", show_default=False)
def main(out: Path) -> None:
    out.write_text(picture(json.loads((RESULTS / "calibration.json").read_text(encoding="utf-8"))), encoding="utf-8")


if __name__ == "__main__":
    main()
