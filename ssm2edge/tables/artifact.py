"""Verdicts and answers for people: rich tables with rounded figures."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console, Group, RenderableType
from rich.text import Text

from ssm2edge.artifact import Accuracy, Manifest, Ratio, calibrated_on, held_out_synthetic, size_chosen, trained_by
from ssm2edge.artifact.loss import losses
from ssm2edge.artifact.notes import notes, nothing_rounded, poor_reduction
from ssm2edge.tables.layers import fit_text, kept_table
from ssm2edge.tables.parts import extent, noted, size_text, time_text, titled_table
from ssm2edge.verification import Comparison, Verdict

Array = NDArray[Any]

WIDTH = 160
"""Columns of a table that goes to a file or a log."""

LISTED = 1 << 9
"""Bytes of a kind of numbers from which on the closing lines name it, or any number where no kind has so many."""


def wide_console() -> Console:
    """Return a console for stdout: as wide as the terminal, or wide enough for every table without one."""
    return Console(width=None if sys.stdout.isatty() else WIDTH)


def show_verdict(console: Console, manifest: Manifest, verdict: Verdict, timing: Comparison, verbose: bool = False) -> None:
    """Print the artifact, the checks that failed (``verbose``: every check), and the outcome."""
    console.print(
        Group(
            _layers(manifest),
            *([checks_table(verdict)] if verbose else []),
            *_layer_errors(verdict),
            _accuracy(manifest, verdict.accuracy, verdict.heads),
            _latency(manifest, timing),
        )
    )
    failures, count = verdict.failures, len(verdict.checks)
    for check in failures:
        console.print(Text(f"{check.name} failed: {check}", style="red"))
    outcome = f"{len(failures)} of {count} checks failed" if failures else f"{count} checks passed"
    large = large_losses(manifest)
    console.print(Text(outcome, style="bold red" if failures else "default" if large else "bold green"))
    for line in large:
        console.print(line)


def show_built(
    console: Console, directory: Path, manifest: Manifest, verdict: Verdict, seconds: float, verbose: bool = False
) -> None:
    """Print a finished build: its layers, and at last what was lost, how large and fast it is, and where it lies."""
    console.print(Group(_layers(manifest), *([checks_table(verdict)] if verbose else []), *_selection(manifest)))
    for line in closing(directory, manifest, verdict, seconds):
        console.print(line)


def closing(directory: Path, manifest: Manifest, verdict: Verdict, seconds: float) -> list[Text]:
    """Return at most six lines, and one on a precision that rounds nothing.

    A large loss comes last, in red, in place of the green one; without labels, a large error of a layer that the outputs show.
    """
    parameters = manifest.parameters
    judged = [(*check.name.partition("."), check.detail) for check in verdict.checks]
    details = [f"{head}{': ' if head else ''}{detail}" for kind, _, head, detail in judged if kind in ("accuracy", "nrmse")]
    graphs = ", ".join(f"{name} {size_text(record.bytes)}" for name, record in manifest.files.items() if name.endswith(".onnx"))
    weights = manifest.original.bytes
    before = f"{size_text(4 * parameters.model_before)} as float32" if weights is None else f"weights file {size_text(weights)}"
    held_out = "; ".join(details) if details else "no labels, so accuracy was not measured."
    if held_out_synthetic(manifest):
        held_out = f"{_deviation(verdict)}; accuracy is unknown without samples"
    lines = [
        Text(f"Held out: {held_out}"),
        Text(
            f"Size: {before} to {graphs}{_stored(manifest)}; {parameters.model_before:,} to {parameters.model_after:,} parameters"
        ),
    ]
    latency = manifest.latency
    if latency is not None:
        references = (("as published", latency.ratios), ("with cached kernels", latency.cached_ratios))
        relative = [f"{_interval(ratios['offline'])} of the original {name}" for name, ratios in references if ratios]
        lines.append(Text(", ".join((f"Latency of one sequence: {time_text(latency.artifact)}", *relative))))
    lines.append(Text(_calibration(manifest) + trained_by(manifest)))
    unrounded = nothing_rounded(str(manifest.options.get("precision", "float32")), manifest.weights)
    if unrounded is not None:
        lines.append(noted(unrounded))
    bad = _bad_news(manifest, verdict)
    style = "default" if bad else "bold green"
    lines.append(
        Text(f"{directory}: verified by {len(verdict.checks)} checks, built in {seconds:.0f} s; {_stream(manifest)}", style)
    )
    return [*lines, *bad]


def _calibration(manifest: Manifest) -> str:
    """Return what the layers were calibrated on, or why they were not."""
    kind, on = manifest.options.get("calibrate"), calibrated_on(manifest)
    whole = all(layer.order_after == layer.order_before for layer in manifest.layers)
    if whole and manifest.options.get("precision", "float32") == "float32":
        return "Not calibrated: no layer has fewer states than before"
    return f"Calibrated: {kind} on {on}" if on else "Not calibrated: reduced for white input"


def _bad_news(manifest: Manifest, verdict: Verdict) -> list[Text]:
    """Return at most one line, on what no user would want without knowing."""
    found = losses(manifest)
    worst = max((loss for loss in found if loss.large), key=lambda loss: loss.amount, default=None)
    if worst is not None:
        return [Text(worst.sentence, "bold red")]
    deviation = next((check.figure for check in verdict.checks if check.name == "offline.error"), None)
    # Labels judge better than any distance, and training means to leave the original's answers.
    note = None if found or deviation is None or trained_by(manifest) else poor_reduction(manifest.layers, deviation)
    return [] if note is None else [noted(note)]


def _deviation(verdict: Verdict) -> str:
    """Return how far the outputs are from the original's on synthetic sequences."""
    found = next((check.detail for check in verdict.checks if check.name == "offline.error"), "")
    return f"synthetic sequences alone{'; ' * bool(found)}{found}"


def show_artifact(console: Console, directory: Path, manifest: Manifest) -> None:
    """Print an artifact as its manifest describes it."""
    console.print(
        Group(
            _layers(manifest),
            _accuracy(manifest, manifest.accuracy, manifest.heads),
            _latency(manifest, None),
            *_selection(manifest),
        )
    )
    for line in (Text(f"{directory}: {_stream(manifest)}", style="bold"), *large_losses(manifest)):
        console.print(line)


def large_losses(manifest: Manifest) -> list[Text]:
    """Return a red line for every output whose loss no user would want without knowing."""
    return [Text(loss.sentence, "bold red") for loss in losses(manifest) if loss.large]


def _selection(manifest: Manifest) -> list[RenderableType]:
    chosen = size_chosen(manifest)
    return [] if chosen is None else [Text(chosen)]


def _stream(manifest: Manifest) -> str:
    streaming = manifest.streaming
    return f"streaming in blocks of {streaming.block}" if streaming.available else f"no stream: {streaming.reason}"


def show_answers(console: Console, outputs: Mapping[str, Array], final: set[str], classes: Sequence[str] = ()) -> None:
    """Print answers, classes by their names if they have any, and the extent of outputs along time."""

    def named(index: int) -> str:
        return classes[index] if index < len(classes) else str(index)

    for name, value in outputs.items():
        if name in final and value.ndim == 2 and value.shape[1] > 1:
            table = titled_table(f"{name}: class with the largest score", "sequence", "class", "score", "second", "score")
            for row, scores in enumerate(value):
                first, second = np.argsort(-scores, kind="stable")[:2]
                table.add_row(str(row), named(first), f"{scores[first]:.4g}", named(second), f"{scores[second]:.4g}")
            console.print(table)
        elif name in final:
            console.print(f"{name}: {np.array2string(value, precision=5, threshold=64)}", highlight=False)
        else:
            extent = f"from {value.min():.5g} to {value.max():.5g}" if value.size else "empty"
            console.print(f"{name}: shape {list(value.shape)}, values {extent}", highlight=False, markup=False)


def _stored(manifest: Manifest) -> str:
    """Return the bytes of weights in the smallest graph, by their kind, where some are rounded."""
    cost = min(manifest.costs.values(), key=lambda cost: cost.stored, default=None)
    if cost is None or not manifest.weights:
        return ""
    listed = {kind: count for kind, count in cost.weights.items() if count >= LISTED} or cost.weights
    kinds = ", ".join(f"{kind} {size_text(count)}" for kind, count in listed.items())
    return f" (weights {size_text(cost.stored)}: {kinds})"


def _layers(manifest: Manifest) -> RenderableType:
    table = titled_table("Layers", "layer", "kind", "systems", "order", "h2 error", "relative", "spectral radius", "outcome")
    for layer in manifest.layers:
        table.add_row(
            layer.name,
            layer.kind,
            extent(layer.channels),
            f"{layer.order_before} to {layer.order_after}",
            f"{layer.h2_error:.3g}",
            f"{layer.h2_error_relative:.3g}",
            f"{layer.spectral_radius:.6f}",
            ", ".join(f"{count} {name}" for name, count in layer.outcomes.items()),
        )
    parameters = manifest.parameters
    table.caption = (
        f"parameters: SSM {parameters.ssm_before:,} to {parameters.ssm_after:,}, "
        f"model {parameters.model_before:,} to {parameters.model_after:,}"
    )
    if manifest.calibrated_on and any(layer.h2_error_relative >= 1 for layer in manifest.layers):
        table.caption += "\nh2 errors are those for white input; calibration fits the layers to the inputs that they get"
    for layer in manifest.layers:
        if layer.realised is not None:
            table.caption += f"\n{layer.name}: {fit_text(layer.realised)}"
    said = [noted(note) for layer in manifest.layers for note in notes(layer)]
    kept = [kept_table(manifest.kept_layers)] if manifest.kept_layers else []
    return Group(table, *said, *kept)


def checks_table(verdict: Verdict) -> RenderableType:
    """Return the table of all checks with their figures."""
    table = titled_table("Checks", "check", "figure", "limit", "", "what was compared")
    for check in verdict.checks:
        figure = "not finite" if check.figure is None else _figure(check.figure)
        limit = "" if check.limit is None else f"{check.limit:.3g}"
        mark = Text("pass", style="green") if check.passed else Text("FAIL", style="bold red")
        table.add_row(check.name, figure, limit, mark, check.detail)
    return table


def _layer_errors(verdict: Verdict) -> list[RenderableType]:
    if not verdict.layers:
        return []
    table = titled_table(
        "Errors layer by layer, on artificial signals", "output of", "against the reduced model", "against the original"
    )
    for layer in verdict.layers:
        figures = ("not finite" if value is None else _figure(value) for value in (layer.parity, layer.error))
        table.add_row(layer.name or "(the model)", *figures)
    return [table]


def _accuracy(manifest: Manifest, found: Accuracy | None, heads: Mapping[str, Accuracy]) -> RenderableType:
    if found is None:
        return Text("No labels: accuracy was not measured.")

    def metric(head: str) -> str:
        return {"nrmse": "NRMSE"}.get(str(manifest.metric(head)), "Accuracy")

    samples = f"{found.samples} held-out samples"
    if heads:
        table = titled_table(f"Outputs on {samples}", "output", "", "original", "artifact")
        for head, one in heads.items():
            table.add_row(head, metric(head), f"{one.original:.4f}", f"{one.artifact:.4f}")
        return table
    table = titled_table(f"{metric('')} on {samples}", "original", "artifact")
    table.add_row(f"{found.original:.4f}", f"{found.artifact:.4f}")
    return table


def _latency(manifest: Manifest, timing: Comparison | None) -> RenderableType:
    columns = ("what", "where", "median", "relative to the original", "95 % interval")
    table = titled_table("Latency, one sequence at a time", *columns)
    built = manifest.latency
    if built is not None:
        where = f"at build, {built.device}, {built.threads} thread" + ("s" if built.threads > 1 else "")
        if built.original is not None:
            table.add_row("original", where, time_text(built.original), "1", "")
        if built.cached is not None:
            table.add_row("original, kernels cached", where, time_text(built.cached), "", "")
        table.add_row("artifact", where, time_text(built.artifact), "", "")
        for name, ratio in built.ratios.items():
            table.add_row(f"{name} / original", where, "", f"{ratio.ratio:.4g}", f"{ratio.low:.4g} to {ratio.high:.4g}")
        for name, ratio in built.cached_ratios.items():
            interval = f"{ratio.low:.4g} to {ratio.high:.4g}"
            table.add_row(f"{name} / original, kernels cached", where, "", f"{ratio.ratio:.4g}", interval)
    if timing is not None:
        for name in timing.seconds:
            what = f"stream, block of {manifest.streaming.block}" if name == "stream" else name
            table.add_row(what, "here, now", time_text(timing.median(name)), "", "")
    return table


def _figure(value: float) -> str:
    # The last digits distinguish a spectral radius from one.
    return f"{value:.6f}" if 0.99 < abs(value) < 1.01 and value != 1.0 else f"{value:.3g}"


def _interval(ratio: Ratio) -> str:
    return f"{ratio.ratio:.3g} ({ratio.low:.3g} to {ratio.high:.3g})"
