"""A model's metric over the share of the states kept, as SVG."""

from __future__ import annotations

import math
from html import escape
from typing import Any

from table_text import divisors_of, value, ways_of

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 560, 56, 350
DRAWN = {
    "last": ("#8d9399", 1.3, ""),
    "modal": ("#a08f86", 1.3, "6 3"),
    "aire": ("#7f95a6", 1.3, "2 3"),
    "singular_perturbation": ("#9a93a8", 1.3, "8 3 2 3"),
    "balanced": ("#6f767d", 1.3, ""),
    "tlh2": ("#84998a", 1.3, "6 3"),
    "gradient": ("#4f565c", 1.3, ""),
    "spectrum": ("#d9780f", 3.0, ""),
    "match": ("#0b5fb0", 3.0, ""),
    "modal_singular_perturbation": ("#8aa39b", 1.3, "8 3 2 3"),
    "hippo": ("#b7a06a", 1.3, "2 3"),
    "retrained": ("#2e7d4f", 1.8, "4 3"),
}
"""Colour, width and dashes of the line of each way, in the order in which they are drawn."""
LINE = 17
"""Least distance between labels."""
WORST = 10.0
"""An NRMSE is drawn up to so many times the original's."""


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


def picture(figures: dict[str, Any]) -> str:
    """Lines of every method, the original's value dashed; each point tells its figure.

    Parameters
    ----------
    figures
        As `reproduce_tables.py` stores them.
    """
    original = float(figures["original"]["value"])
    error = figures["metric"] == "nrmse"
    sizes = divisors_of(figures)
    most = math.log2(max(sizes, default=2))
    ways = ways_of(figures, tuple(DRAWN))
    values = [measured for way in ways for size in sizes if (measured := value(figures, way, size)) is not None]
    lowest = math.log10(0.8 * min([original, *values])) if error else 0.0
    highest = math.log10(original * WORST) if error else 1.0

    def across(divisor: float) -> float:
        return RIGHT - (RIGHT - LEFT) * math.log2(divisor) / most

    def down(height: float) -> float:
        place = math.log10(max(height, 1e-12)) if error else height
        return BOTTOM - (BOTTOM - TOP) * min(max((place - lowest) / (highest - lowest), 0.0), 1.0)

    told = "NRMSE, logarithmic" if error else "accuracy"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'font-family="DejaVu Sans, Verdana, Arial, sans-serif" fill="#222">',
        f"<title>{escape(str(figures['model']))}: {told} over the share of states kept</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        text(LEFT, 30, f"{figures['model']}: {told} over the share of the states kept", 16, font_weight="bold"),
    ]
    multiples = [original * factor for factor in (0.5, 1, 2, 5, 10) if original * factor >= 10**lowest]
    ticks = multiples if error else [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    for tick in ticks:
        parts.append(stroke([(LEFT, down(tick)), (RIGHT, down(tick))], "#e6e8ea", 1))
        parts.append(text(LEFT - 8, down(tick) + 4, f"{tick:.3f}" if error else f"{tick:.1f}", text_anchor="end"))
    for divisor in (1, *sizes):
        parts.append(text(across(divisor), BOTTOM + 20, f"1/{divisor}" if divisor > 1 else "1", text_anchor="middle"))
    parts.append(stroke([(LEFT, down(original)), (RIGHT, down(original))], "#222", 1.2, "1 3"))
    ends: list[tuple[float, float, str]] = []
    for way in ways:
        colour, width, dashes = DRAWN[way]
        points = [(divisor, measured) for divisor in reversed(sizes) if (measured := value(figures, way, divisor)) is not None]
        places = [(across(divisor), down(value)) for divisor, value in points]
        parts.append(stroke(places, colour, width, dashes))
        for (x, y), (divisor, measured) in zip(places, points, strict=True):
            title = escape(f"{way}, 1/{divisor} of the states: {measured:.4f}")
            radius = 4.5 if width > 2 else 2.4
            parts.append(
                f'<circle class="point" cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}"><title>{title}</title></circle>'
            )
        ends.append((places[-1][1], places[-1][0], way))
    ends.sort()
    heights = spread([y for y, _, _ in ends], TOP, BOTTOM)
    for (y, x, way), height in zip(ends, heights, strict=True):
        colour, width, _ = DRAWN[way]
        parts.append(stroke([(x + 6, y), (RIGHT + 14, height)], colour, 0.8))
        weight = "bold" if width > 2 else "normal"
        parts.append(
            text(RIGHT + 18, height + 4, way.replace("_", " "), 12, fill=colour if width > 2 else "#4a4f54", font_weight=weight)
        )
    parts.append(text(LEFT, HEIGHT - 14, f"dotted: the original, {original:.4f}", 12, fill="#555"))
    return "\n".join([*parts, "</svg>"]) + "\n"
