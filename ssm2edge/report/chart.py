"""Charts as inline SVG: scales, axes and marks.

Marks carry their text as ``data-tip``; lines carry their values as JSON beside the SVG; `hover.js` shows both.
Colours are classes of the style sheet, so that a page follows the reader's light or dark mode and prints.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from ssm2edge.report.words import label, power_of_ten, text

WIDTH, HEIGHT = 320, 224
"""Pixels of every chart, also on the narrowest screens: text has one size then."""
LEFT, RIGHT, TOP, BOTTOM = 54, 20, 12, 44


@dataclass(frozen=True)
class Scale:
    """Maps values to pixels along one axis.

    Attributes
    ----------
    low, high
        Values at the ends.
    start, stop
        Pixels there.
    logarithmic
        Powers of ten are evenly spaced.
    """

    low: float
    high: float
    start: float
    stop: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        """Return the pixels of a value; values outside are drawn at the edge."""
        low, high = (math.log10(self.low), math.log10(self.high)) if self.logarithmic else (self.low, self.high)
        at = math.log10(max(value, self.low)) if self.logarithmic else value
        share = (at - low) / (high - low)
        return self.start + min(1.0, max(0.0, share)) * (self.stop - self.start)

    def ticks(self, most: int = 6) -> list[tuple[float, str]]:
        """Return the values to mark, with their labels."""
        if not self.logarithmic:
            step = _nice_step((self.high - self.low) / most)
            first = math.ceil(self.low / step - 1e-9)
            last = math.floor(self.high / step + 1e-9)
            return [(n * step, label(n * step)) for n in range(first, last + 1)]
        first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
        if last - first < 1:
            return [(value, label(value)) for value in _between(self.low, self.high)]
        stride = math.ceil((last - first + 1) / (most + 1))
        return [(10.0**n, power_of_ten(n)) for n in range(first, last + 1) if (n - first) % stride == 0]


def linear(values: Sequence[float], start: float, stop: float, zero: bool = False) -> Scale:
    """Return a scale for all values that ends at round numbers."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if high <= low:
        low, high = low - 0.5, high + 0.5
    step = _nice_step((high - low) / 5)
    low = math.floor(low / step + 1e-9) * step if not (zero and low == 0) else 0.0
    return Scale(low, math.ceil(high / step - 1e-9) * step, start, stop)


def logarithmic(values: Sequence[float], start: float, stop: float, decades: float = 8) -> Scale:
    """Return a logarithmic scale over the positive values, at most so many decades below the largest."""
    positive = [value for value in values if value > 0]
    high = max(positive, default=1.0)
    low = max(min(positive, default=high / 10), high / 10**decades)
    if high < 1.5 * low:
        low, high = low / 2, high * 2
    margin = (high / low) ** 0.04
    return Scale(low / margin, high * margin, start, stop, True)


@dataclass
class Chart:
    """One picture with its axes.

    Attributes
    ----------
    name
        Identifier, unique in the page.
    label
        Description for readers who do not see the picture.
    """

    name: str
    label: str
    height: float = HEIGHT
    left: float = LEFT
    bottom: float = BOTTOM
    marks: list[str] = field(default_factory=list)
    hover: dict[str, object] = field(default_factory=dict)

    @property
    def across(self) -> tuple[float, float]:
        """Pixels of the left and right end of the plot."""
        return self.left, WIDTH - RIGHT

    @property
    def up(self) -> tuple[float, float]:
        """Pixels of the bottom and top of the plot."""
        return self.height - self.bottom, TOP

    def axes(self, x: Scale | None, y: Scale | None, x_title: str = "", y_title: str = "", most: int = 6) -> None:
        """Draw grid lines, labels and titles."""
        (left, right), (bottom, top) = self.across, self.up
        if y is not None:
            for value, label in y.ticks(5):
                at = y(value)
                self.marks.append(f'<line class="grid" x1="{left:.1f}" x2="{right:.1f}" y1="{at:.1f}" y2="{at:.1f}"/>')
                self.write(left - 6, at + 4, label, "end")
        if x is not None:
            for value, label in x.ticks(most):
                at = x(value)
                self.marks.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{top:.1f}" y2="{bottom:.1f}"/>')
                self.write(at, bottom + 16, label, "middle")
        self.marks.append(f'<line class="axis" x1="{left:.1f}" x2="{right:.1f}" y1="{bottom:.1f}" y2="{bottom:.1f}"/>')
        if x_title:
            self.write((left + right) / 2, self.height - 6, x_title, "middle", "title")
        if y_title:
            turned = f"translate(13 {(bottom + top) / 2:.1f}) rotate(-90)"
            self.marks.append(f'<text class="title" text-anchor="middle" transform="{turned}">{text(y_title)}</text>')

    def line(self, xs: Sequence[float], ys: Sequence[float], kind: str) -> None:
        """Draw a line through points in pixels; a single point is a dot."""
        if len(xs) == 1:
            self.marks.append(f'<circle class="mark dot {kind}" cx="{xs[0]:.1f}" cy="{ys[0]:.1f}" r="3.5"/>')
            return
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in zip(xs, ys, strict=True))
        self.marks.append(f'<path class="mark line {kind}" d="M{path}"/>')

    def band(self, xs: Sequence[float], lows: Sequence[float], highs: Sequence[float], kind: str) -> None:
        """Draw the area between two lines."""
        there = [f"{x:.1f} {y:.1f}" for x, y in zip(xs, highs, strict=True)]
        back = [f"{x:.1f} {y:.1f}" for x, y in zip(reversed(xs), reversed(lows), strict=True)]
        self.marks.append(f'<path class="mark band {kind}" d="M{"L".join(there + back)}Z"/>')

    def dot(self, x: float, y: float, radius: float, kind: str, tip: str) -> None:
        """Draw a circle."""
        self.marks.append(f'<circle class="mark dot {kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" data-tip="{text(tip)}"/>')

    def cross(self, x: float, y: float, size: float, kind: str, tip: str) -> None:
        """Draw a cross, which differs from a circle without colour."""
        across, other = f"l{2 * size:.1f} {2 * size:.1f}", f"l{2 * size:.1f} {-2 * size:.1f}"
        path = f"M{x - size:.1f} {y - size:.1f}{across}M{x - size:.1f} {y + size:.1f}{other}"
        self.marks.append(f'<path class="mark cross {kind}" d="{path}" data-tip="{text(tip)}"/>')

    def bar(self, x: float, y: float, width: float, height: float, kind: str, tip: str) -> None:
        """Draw a rectangle."""
        self.marks.append(
            f'<rect class="mark bar {kind}" x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" '
            f'height="{max(height, 0.5):.1f}" rx="1.5" data-tip="{text(tip)}"/>'
        )

    def rule(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        """Draw a straight line that is no mark."""
        self.marks.append(f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')

    def write(self, x: float, y: float, words: str, anchor: str = "start", kind: str = "") -> None:
        """Write words into the picture."""
        named = f' class="{kind}"' if kind else ""
        self.marks.append(f'<text{named} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text(words)}</text>')

    def follow(
        self, xs: Sequence[float], titles: Sequence[str], series: Sequence[tuple[str, str, Sequence[float], Sequence[float]]]
    ) -> None:
        """Store the values to show at the pointer: name, class, pixels and value of every line, at common places."""
        self.hover = {
            "x": [round(x, 1) for x in xs],
            "title": list(titles),
            "series": [
                {"name": name, "kind": kind, "y": [round(y, 1) for y in ys], "value": list(values)}
                for name, kind, ys, values in series
            ],
        }

    def html(self) -> str:
        """Return the SVG and the values of its lines."""
        data = ""
        if self.hover:
            packed = json.dumps(self.hover, separators=(",", ":"), allow_nan=False).replace("</", "<\\/")
            data = f'<script type="application/json">{packed}</script>'
        return (
            f'<svg class="chart" id="{text(self.name)}" viewBox="0 0 {WIDTH} {self.height:g}" role="img" tabindex="0" '
            f'aria-label="{text(self.label)}">{"".join(self.marks)}</svg>{data}'
        )


def _nice_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * (1 - 1e-9))


def _between(low: float, high: float) -> list[float]:
    power = 10.0 ** math.floor(math.log10(low))
    for factors in ((1, 2, 5, 10, 20, 50), (1, 2, 3, 5, 7, 10, 20, 30, 50)):
        found = [value for factor in factors if low <= (value := power * factor) <= high]
        if len(found) >= 3:
            return found
    return found if len(found) >= 2 else [low, high]
