"""Tables and figures: a chart, its legend, and its numbers beside it."""

from __future__ import annotations

from collections.abc import Sequence

from ssm2edge.report.chart import Chart
from ssm2edge.report.words import text

_RIGHT = ' class="n"'

Legend = Sequence[tuple[str, str]]
"""Classes of the style sheet, and their meanings."""


def table(head: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "", words: int = 1) -> str:
    """Return a table whose first ``words`` columns are words and the others figures; cells are text."""
    heads = "".join(f'<th scope="col"{"" if i < words else _RIGHT}>{text(cell)}</th>' for i, cell in enumerate(head))
    body = "".join("<tr>" + "".join(_cell(i, cell, words) for i, cell in enumerate(row)) + "</tr>" for row in rows)
    below = f"<caption>{text(caption)}</caption>" if caption else ""
    return f'<div class="scroll"><table>{below}<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(index: int, cell: str, words: int) -> str:
    if index == 0:
        return f'<th scope="row">{text(cell)}</th>'
    return f"<td{'' if index < words else _RIGHT}>{text(cell)}</td>"


def drawn(title: str, chart: Chart, legend: Legend = (), note: str = "", numbers: str = "", wide: bool = False) -> str:
    """Return a chart with its title, legend, a note, and its table."""
    keys = "".join(f'<span class="key"><i class="{kind}"></i>{text(name)}</span>' for kind, name in legend)
    below = f'<p class="note">{text(note)}</p>' if note else ""
    beside = f'<div class="numbers">{numbers}</div>' if numbers else ""
    return (
        f'<figure class="{"wide" if wide else ""}">'
        f'<figcaption><b>{text(title)}</b><span class="legend">{keys}</span></figcaption>'
        f'<div class="body"><div class="plot">{chart.html()}{below}</div>{beside}</div></figure>'
    )
