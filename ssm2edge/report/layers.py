"""One layer: its errors, Hankel singular values, poles, and responses."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from ssm2edge.artifact import LayerFigures, LayerRecord, Pole, Response
from ssm2edge.artifact.notes import notes
from ssm2edge.report.chart import Chart, Scale, linear, logarithmic
from ssm2edge.report.table import drawn, table
from ssm2edge.report.words import count, figure, text

BOTH = (("line before", "original"), ("line after", "reduced"))
SLOWEST = 1e-5
"""Cycles per sample below which poles are drawn at the edge."""
POLES = (("ring before", "original"), ("x after", "reduced"))


def layer(number: int, record: LayerRecord, figures: LayerFigures, opened: bool) -> str:
    """Return the section of one layer."""
    what = f"{count(record.channels)} {'system' if record.channels == 1 else 'channels'}"
    shape = "" if figures.inputs == figures.outputs == 1 else f", {figures.inputs} inputs, {figures.outputs} outputs"
    summary = (
        f"<summary><h3>{text(record.name or 'the model')}</h3><span>{text(record.kind)}, {what}{shape}</span>"
        f"<span>{record.order_before} → <b>{record.order_after}</b> states</span>"
        f"<span>relative h2 error <b>{text(figure(record.h2_error_relative))}</b></span></summary>"
    )
    realised = ""
    if record.realised is not None:
        realised = (
            f'<p class="note">The original system was realised from {count(record.realised.taps)} taps of its impulse '
            f"response (relative error {text(figure(record.realised.error))}).</p>"
        )
    realised += "".join(f'<p class="{"alarm" if note.bad else "note"}">{text(note.sentence)}</p>' for note in notes(record))
    quadratic = (
        '<p class="note">Outputs of this layer have quadratic parts; the responses below show the linear ones.</p>'
        if figures.quadratic
        else ""
    )
    charts = [hankel(number, record, figures), disc(number, figures), memory(number, figures)]
    if record.channels > 1:
        charts.insert(0, errors(number, figures))
    return (
        f'<details class="layer"{" open" if opened else ""}>{summary}<div class="grid">{"".join(charts)}</div>'
        f"{realised}{quadratic}{responses(number, figures)}</details>"
    )


def errors(number: int, figures: LayerFigures) -> str:
    """Draw the errors of the channels, from the smallest to the largest."""
    chart = Chart(f"errors-{number}", f"Relative h2 error of every channel of {figures.name}, ascending")
    values = figures.errors
    y = logarithmic(values, *chart.up)
    x = Scale(0, len(values), *chart.across)
    chart.axes(None, y, "channels, by error", "relative h2 error")
    width = (chart.across[1] - chart.across[0]) / len(values)
    for index, value in enumerate(values):
        top = y(value)
        chart.bar(
            x(index) + 0.1 * width, top, 0.8 * width, chart.up[0] - top, "after", f"{index + 1} of {len(values)}: {figure(value)}"
        )
    rows = [(f"{share:.0%} below", figure(_quantile(values, share))) for share in (0.1, 0.5, 0.9)]
    rows.append(("largest", figure(values[-1])))
    return drawn("Error of each channel", chart, (), "", table(("channels", "relative h2 error"), rows))


def hankel(number: int, record: LayerRecord, figures: LayerFigures) -> str:
    """Draw the Hankel singular values before and after."""
    chart = Chart(f"hankel-{number}", f"Hankel singular values of {figures.name}, relative to the largest")
    before, after = figures.hankel_before, figures.hankel_after
    y = logarithmic([value for rows in (before, after) for row in rows for value in row], *chart.up, decades=10)
    order = len(before[1])
    x = Scale(1, max(2, order), *chart.across)
    chart.axes(x, y, "index", "relative singular value")
    places = [x(index + 1) for index in range(order)]
    drawn_at = [y(value) for value in before[1]]
    if before[0] != before[2]:
        chart.band(places, [y(value) for value in before[0]], [y(value) for value in before[2]], "before")
    chart.line(places, drawn_at, "before")
    chart.line(places[: len(after[1])], [y(value) for value in after[1]], "after")
    cut = x(record.order_after)
    chart.rule(cut, chart.up[0], cut, chart.up[1], "limit")
    padded = [*after[1], *[0.0] * (order - len(after[1]))]
    chart.follow(
        places,
        [f"singular value {index + 1}" for index in range(order)],
        [("original", "before", drawn_at, before[1]), ("reduced", "after", [y(value) for value in padded], padded)],
    )
    shown = sorted({1, 2, 4, 8, 16, 32, 64, record.order_after, order} & set(range(1, order + 1)))
    rows = [(str(i), figure(before[1][i - 1]), figure(after[1][i - 1]) if i <= len(after[1]) else "–") for i in shown]
    note = "Median over the channels; the band is from the smallest to the largest." if before[0] != before[2] else ""
    note = (note + " The dashed line is the reduced order.").strip()
    return drawn("Hankel singular values", chart, BOTH, note, table(("index", "original", "reduced"), rows))


def disc(number: int, figures: LayerFigures) -> str:
    """Draw the poles in the upper half of the unit disc; the lower half is its mirror image."""
    chart = Chart(f"disc-{number}", f"Poles of {figures.name} in the upper half of the unit disc, before and after")
    left, right = chart.across
    radius = (right - left) / 2
    chart.height = radius + 12 + chart.bottom
    centre, ground = (left + right) / 2, chart.height - chart.bottom
    x = Scale(-1, 1, left, right)
    for share in (0.25, 0.5, 0.75, 1.0):
        r = share * radius
        arc = f"M{centre - r:.1f} {ground:.1f}A{r:.1f} {r:.1f} 0 0 1 {centre + r:.1f} {ground:.1f}"
        chart.marks.append(f'<path class="{"circle" if share == 1 else "grid"}" d="{arc}"/>')
    for eighth in range(1, 8):
        angle = math.pi * eighth / 8
        chart.rule(centre, ground, centre + radius * math.cos(angle), ground - radius * math.sin(angle), "grid")
    chart.axes(None, None, "real part", "imaginary part")
    for value, label in x.ticks(4):
        chart.write(x(value), ground + 16, label, "middle")

    def place(pole: Pole) -> tuple[float, float]:
        return centre + radius * pole.re, ground - radius * pole.im

    _draw_poles(chart, figures, place)
    rows = [_pole_row(name, poles) for name, poles in (("original", figures.poles_before), ("reduced", figures.poles_after))]
    return drawn(
        "Poles in the unit disc", chart, POLES, "Upper half; poles that nearly meet are drawn as one.",
        table(("modulus", "poles", "largest", "median"), rows),
    )  # fmt: skip


def memory(number: int, figures: LayerFigures) -> str:
    """Draw the same poles by memory and frequency, which separates those at the edge of the disc."""
    chart = Chart(f"memory-{number}", f"Poles of {figures.name} by memory and frequency, before and after")
    every = (*figures.poles_before, *figures.poles_after)
    lengths, turns = [_memory(pole) for pole in every], [_frequency(pole) for pole in every]
    x = logarithmic([max(turn, SLOWEST) for turn in turns], *chart.across)
    y = logarithmic(lengths, *chart.up)
    chart.axes(x, y, "frequency, cycles per sample", "memory, samples")
    _draw_poles(chart, figures, lambda pole: (x(max(_frequency(pole), SLOWEST)), y(_memory(pole))))
    rows = [
        (name, figure(max(map(_memory, poles))), figure(min(map(_memory, poles))))
        for name, poles in (("original", figures.poles_before), ("reduced", figures.poles_after))
        if poles
    ]
    return drawn(
        "Poles by memory and frequency", chart, POLES, "Memory is −1 / log of the modulus: samples until a mode fell to 37 %. "
        "Real positive poles, and slower ones, stand at the left edge.",
        table(("memory", "longest", "shortest"), rows),
    )  # fmt: skip


def responses(number: int, figures: LayerFigures) -> str:
    """Draw impulse and frequency responses of a few channels, and show one of them."""
    tabs, panes, shown = [], [], len(figures.responses) // 2
    for index, response in enumerate(figures.responses):
        name = f"response-{number}-{index}"
        checked = " checked" if index == shown else ""
        tabs.append(f'<input type="radio" name="response-{number}" id="{name}"{checked}>')
        tabs.append(f'<label for="{name}">{text(response.title)}</label>')
        panes.append(
            f'<div class="pane grid">{impulse(f"impulse-{number}-{index}", response)}'
            f"{gain(f'frequency-{number}-{index}', response)}</div>"
        )
    return f'<div class="tabs" role="group" aria-label="Responses shown">{"".join(tabs)}{"".join(panes)}</div>'


def impulse(name: str, response: Response) -> str:
    """Draw impulse responses over each other."""
    chart = Chart(name, f"Impulse responses of {response.title}, before and after")
    x = logarithmic(response.times, *chart.across)
    y = linear([*response.impulse_before, *response.impulse_after], *chart.up)
    chart.axes(x, y, "samples after the impulse", "impulse response")
    places = [x(time) for time in response.times]
    series = []
    for kind, label, values in (("before", "original", response.impulse_before), ("after", "reduced", response.impulse_after)):
        heights = [y(value) for value in values]
        chart.line(places, heights, kind)
        series.append((label, kind, heights, values))
    chart.follow(places, [f"after {count(time)} samples" for time in response.times], series)
    rows = [
        (count(response.times[i]), figure(response.impulse_before[i]), figure(response.impulse_after[i]))
        for i in _spread(len(response.times), 6)
    ]
    return drawn("Impulse response", chart, BOTH, "", table(("sample", "original", "reduced"), rows))


def gain(name: str, response: Response) -> str:
    """Draw the moduli of the frequency responses and of their difference."""
    chart = Chart(name, f"Frequency responses of {response.title}, before and after, and their difference")
    x = logarithmic(response.frequencies, *chart.across)
    lines = (
        ("before", "original", response.gain_before),
        ("after", "reduced", response.gain_after),
        ("error", "difference", response.gain_error),
    )
    y = logarithmic([value for _, _, values in lines for value in values], *chart.up, decades=5)
    chart.axes(x, y, "frequency, cycles per sample", "gain")
    places = [x(frequency) for frequency in response.frequencies]
    series = []
    for kind, label, values in lines:
        heights = [y(value) for value in values]
        chart.line(places, heights, kind)
        series.append((label, kind, heights, values))
    chart.follow(places, [f"{figure(frequency)} cycles per sample" for frequency in response.frequencies], series)
    rows = [
        (figure(response.frequencies[i]), *(figure(values[i]) for _, _, values in lines))
        for i in _spread(len(response.frequencies), 6)
    ]
    legend = (*BOTH, ("line error", "difference"))
    note = f"Relative error {figure(response.error)}; the gain at frequency 0.5 is that of alternating samples."
    return drawn("Frequency response", chart, legend, note, table(("frequency", "original", "reduced", "error"), rows))


def _draw_poles(chart: Chart, figures: LayerFigures, place: Callable[[Pole], tuple[float, float]]) -> None:
    for pole in figures.poles_before:
        x, y = place(pole)
        chart.dot(x, y, min(6.0, 2.2 + 0.5 * math.log2(pole.count)), "before", _tip("original", pole))
    for pole in figures.poles_after:
        x, y = place(pole)
        chart.cross(x, y, min(5.0, 2.6 + 0.4 * math.log2(pole.count)), "after", _tip("reduced", pole))


def _tip(name: str, pole: Pole) -> str:
    many = f"{pole.count} poles near " if pole.count > 1 else ""
    return (
        f"{name}: {many}modulus {math.hypot(pole.re, pole.im):.6g}, memory {figure(_memory(pole))} samples, "
        f"{figure(_frequency(pole))} cycles per sample"
    )


def _pole_row(name: str, poles: Sequence[Pole]) -> tuple[str, str, str, str]:
    moduli = sorted(math.hypot(pole.re, pole.im) for pole in poles for _ in range(pole.count))
    together = sum(pole.count * (2 if pole.im > 0 else 1) for pole in poles)
    return name, count(together), f"{moduli[-1]:.5f}" if moduli else "–", f"{moduli[len(moduli) // 2]:.4f}" if moduli else "–"


def _memory(pole: Pole) -> float:
    modulus = min(max(math.hypot(pole.re, pole.im), 1e-12), 1 - 1e-9)
    return -1 / math.log(modulus)


def _frequency(pole: Pole) -> float:
    return abs(math.atan2(pole.im, pole.re)) / (2 * math.pi)


def _quantile(ascending: Sequence[float], share: float) -> float:
    return ascending[min(len(ascending) - 1, int(share * len(ascending)))]


def _spread(length: int, most: int) -> list[int]:
    return sorted({round(index * (length - 1) / (most - 1)) for index in range(most)})
