"""Accuracy against size, for several artifacts of one model."""

from __future__ import annotations

from collections.abc import Sequence

from ssm2edge.artifact import Manifest
from ssm2edge.report.chart import Chart, linear, logarithmic
from ssm2edge.report.overview import metric
from ssm2edge.report.table import drawn, table
from ssm2edge.report.words import count, figure, percent


def curve(manifest: Manifest, others: Sequence[tuple[str, Manifest]]) -> str:
    """Draw a point for each artifact and one for the original; return nothing without other artifacts."""
    if manifest.accuracy is None or not others:
        return ""
    first = next(iter(manifest.heads), "")
    error = metric(manifest, first) == "nrmse"
    scale = 1.0 if error else 100.0
    made = [("this artifact", manifest), *others]
    points = [
        (name, other.parameters.ssm_after, scale * other.accuracy.artifact)
        for name, other in made
        if other.accuracy is not None and metric(other, first) == metric(manifest, first)
    ]
    original = ("original", manifest.parameters.ssm_before, scale * manifest.accuracy.original)
    every = [original, *points]
    chart = Chart("accuracy-size", "Accuracy of artifacts of several sizes", left=64)
    x = logarithmic([size for _, size, _ in every], *chart.across)
    y = linear([value for _, _, value in every], *chart.up)
    chart.axes(x, y, "parameters of the SSM layers", "NRMSE" if error else "accuracy, %")
    ordered = sorted(points, key=lambda point: point[1])
    chart.line([x(size) for _, size, _ in ordered], [y(value) for _, _, value in ordered], "after")

    def shown(value: float) -> str:
        return figure(value, 4) if error else percent(value / 100)

    for name, size, value in points:
        kind = "after here" if name == "this artifact" else "after"
        chart.dot(
            x(size), y(value), 7 if name == "this artifact" else 4.5, kind, f"{name}: {count(size)} parameters, {shown(value)}"
        )
    chart.dot(x(original[1]), y(original[2]), 5, "before", f"original: {count(original[1])} parameters, {shown(original[2])}")
    rows = [(name, count(size), shown(value)) for name, size, value in sorted(every, key=lambda point: -point[1])]
    legend = (("block before", "original"), ("block after", "artifacts"))
    numbers = table(("", "SSM parameters", "NRMSE" if error else "accuracy"), rows)
    return f'<div class="grid">{drawn("Accuracy against size", chart, legend, "", numbers, wide=True)}</div>'
