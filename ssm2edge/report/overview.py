"""The whole network: size, accuracy and latency before and after, orders of the layers, and the error against its bound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ssm2edge.artifact import Accuracy, Figures, FileRecord, Latency, Manifest, Ratio, held_out_synthetic, size_chosen
from ssm2edge.artifact.loss import losses
from ssm2edge.artifact.notes import notes
from ssm2edge.report.chart import Chart, Scale, linear, logarithmic
from ssm2edge.report.table import drawn, table
from ssm2edge.report.words import ENSPACE, MINUS, TIMES, count, figure, percent, seconds, short, size, text, times

BEFORE_AFTER = (("block before", "original"), ("block after", "artifact"))


def tiles(manifest: Manifest, files: Mapping[str, FileRecord]) -> str:
    """Return the most important figures."""
    parameters = manifest.parameters
    found = [
        ("SSM parameters", f"{count(parameters.ssm_before)} → {count(parameters.ssm_after)}",
         times(parameters.ssm_before, parameters.ssm_after)),
        ("Model parameters", f"{count(parameters.model_before)} → {count(parameters.model_after)}",
         times(parameters.model_before, parameters.model_after)),
    ]  # fmt: skip
    for head, accuracy in manifest.judged.items():
        of = f" of {head}" if head else ""
        if metric(manifest, head) == "nrmse":
            found.append(
                (
                    f"NRMSE{of}",
                    f"{figure(accuracy.original)} → {figure(accuracy.artifact)}",
                    f"on {count(accuracy.samples)} held-out samples",
                )
            )
        else:
            points = 100 * (accuracy.artifact - accuracy.original)
            sign = "+" if points > 0 else MINUS if points < 0 else "±"
            found.append(
                (f"Accuracy{of}", f"{percent(accuracy.original)} → {percent(accuracy.artifact)}",
                 f"{sign}{abs(points):.2f} points on {count(accuracy.samples)} held-out samples")
            )  # fmt: skip
    latency = manifest.latency
    if latency is not None:
        before = "" if latency.original is None else f"{seconds(latency.original)} → "
        faster = [f"{_faster(ratios['offline'])} than {name}" for name, _, ratios in _references(latency) if "offline" in ratios]
        found.append(("Latency, one sequence", f"{before}{seconds(latency.artifact)}", "; ".join(faster)))
    graphs = {name: record.bytes for name, record in files.items() if name.endswith(".onnx")}
    if graphs:
        each = ", ".join(f"{name.removesuffix('.onnx')} {size(bytes_)}" for name, bytes_ in graphs.items())
        weights = manifest.original.bytes
        before, of = ("", "") if weights is None else (f"{size(weights)} → ", "the original's weights file; ")
        found.append(("Files for the device", f"{before}{size(sum(graphs.values()))}", f"{of}{each}"))
    large = [loss.sentence for loss in losses(manifest) if loss.large]
    large += [note.sentence for layer in manifest.layers for note in notes(layer) if note.bad]
    alarm = "".join(f'<p class="alarm">{text(sentence)}</p>' for sentence in large)
    if (chosen := size_chosen(manifest)) is not None:
        alarm += f'<p class="note">{text(chosen)}</p>'
    return f'{alarm}<div class="tiles">' + "".join(
        f'<div class="tile"><span>{text(name)}</span><strong>{text(value)}</strong><small>{text(note)}</small></div>'
        for name, value, note in found
    ) + "</div>"  # fmt: skip


def _references(latency: Latency) -> list[tuple[str, float | None, Mapping[str, Ratio]]]:
    """Return what the artifact is compared with: its name, its median, and the artifact's latency relative to it."""
    found = [("the original as published", latency.original, latency.ratios)]
    if latency.cached is not None:
        found.append(("the original, kernels cached", latency.cached, latency.cached_ratios))
    return found


def _faster(ratio: Ratio) -> str:
    interval = f"({figure(1 / ratio.high)} to {figure(1 / ratio.low)})"
    return f"{figure(1 / ratio.ratio)}{TIMES} faster {interval}"


def metric(manifest: Manifest, head: str = "") -> str:
    """Return the metric of an output; the empty name stands for the first one."""
    return manifest.metric(head) or "accuracy"


def outcome(manifest: Manifest) -> str:
    """Draw accuracy and latency before and after."""
    charts = [_accuracy(manifest, head, accuracy) for head, accuracy in manifest.judged.items()]
    if manifest.latency is not None and manifest.latency.original is not None:
        charts.append(_latency(manifest))
    charts += [_parameters(manifest), _costs(manifest)]
    return '<div class="grid">' + "".join(charts) + "</div>"


def orders(manifest: Manifest) -> str:
    """Draw the order and the error of each layer."""
    layers = manifest.layers
    height = max(150.0, 60.0 + 34 * len(layers))
    kept = Chart("orders", "States per system of each layer, before and after", height=height, left=112)
    x = linear([layer.order_before for layer in layers], *kept.across, zero=True)
    kept.axes(x, None, "states per system")
    lost = Chart("layer-errors", "Relative h2 error of each layer", height=height, left=112)
    e = linear([layer.h2_error_relative for layer in layers], *lost.across, zero=True)
    lost.axes(e, None, "relative h2 error")
    step = (kept.up[0] - kept.up[1]) / len(layers)
    for index, layer in enumerate(layers):
        middle = kept.up[1] + (index + 0.5) * step
        name = short(layer.name or "model", 12)
        kept.write(kept.left - 8, middle + 4, name, "end")
        kept.bar(
            x(0), middle - 11, x(layer.order_before) - x(0), 9, "before", f"{layer.name}: {layer.order_before} states before"
        )
        kept.bar(x(0), middle + 1, x(layer.order_after) - x(0), 9, "after", f"{layer.name}: {layer.order_after} states kept")
        lost.write(lost.left - 8, middle + 4, name, "end")
        tip = f"{layer.name}: relative {figure(layer.h2_error_relative)}, absolute {figure(layer.h2_error)}"
        lost.bar(e(0), middle - 7, e(layer.h2_error_relative) - e(0), 14, "after", tip)
    states = [(layer.name or "model", count(layer.order_before), count(layer.order_after)) for layer in layers]
    lost_rows = [(layer.name or "model", figure(layer.h2_error), figure(layer.h2_error_relative)) for layer in layers]
    rows = [
        (
            layer.name or "model",
            layer.kind,
            count(layer.channels),
            f"{layer.spectral_radius:.6f}",
            ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in layer.outcomes.items()),
        )
        for layer in layers
    ]
    head = ("layer", "kind", "systems", "spectral radius", "how the reductions ended")
    horizon = layers[0].horizon if layers else None
    whitened = " They weigh all frequencies alike, which calibration does not." if manifest.options.get("calibrate") else ""
    note = "h2 errors are those of the float32 blocks that run, " + (
        "on the infinite horizon." if horizon is None else f"on {count(horizon)} taps."
    )
    note += whitened
    untouched = [(layer.name or "model", layer.library, layer.reason) for layer in manifest.kept_layers]
    stays = table(("layer", "what it is", "why it stays as it is"), untouched, words=3) if untouched else ""
    return (
        '<div class="grid">'
        + drawn("States kept", kept, BEFORE_AFTER, "", table(("layer", "before", "after"), states))
        + drawn("Error of each layer", lost, (), note, table(("layer", "absolute", "relative"), lost_rows))
        + f"</div>{table(head, rows, words=2)}{stays}"
    )


def bound(manifest: Manifest, figures: Figures) -> str:
    """Draw the measured output error against its bounds and the outputs themselves."""
    given: Mapping[str, Any] = manifest.bound or {"available": False, "reason": "None was computed."}
    kind = "synthetic" if held_out_synthetic(manifest) else "held-out"
    rows = [
        ("size of the outputs", figures.output_size, "before", "what errors may be compared with"),
        ("measured error", figures.output_error, "after", f"artifact against original, {kind} samples"),
    ]
    if given.get("available"):
        for key, basis in (("estimated", "constants observed on samples"), ("certified", "every constant proven")):
            value = given.get(key, {}).get("value") if isinstance(given.get(key), Mapping) else None
            if isinstance(value, (int, float)):
                rows.append((f"{key} bound", float(value), "limit", basis))
    chart = Chart("bound", "Output error against its bounds", height=60.0 + 34 * len(rows), left=132)
    x = logarithmic([value for _, value, _, _ in rows], *chart.across, decades=12)
    chart.axes(x, None, "norm of outputs")
    step = (chart.up[0] - chart.up[1]) / len(rows)
    for index, (name, value, kind, basis) in enumerate(rows):
        middle = chart.up[1] + (index + 0.5) * step
        chart.write(chart.left - 8, middle + 4, name, "end")
        chart.rule(chart.left, middle, x(value), middle, "stem")
        chart.dot(x(value), middle, 6, kind, f"{name}: {figure(value)} ({basis})")
    outputs = max(figures.output_size, 1e-300)
    compared = [(name, figure(value), figure(value / outputs)) for name, value, _, _ in rows]
    numbers = table(("", "value", "ratio"), compared)
    note = "Euclidean norms, root mean squares over samples and time." if given.get("available") else str(given.get("reason", ""))
    certified = given.get("certified")
    if isinstance(certified, Mapping) and "reason" in certified:
        note += f" None is certified: {certified['reason']}"
    return f'<div class="grid">{drawn("Error against its bound", chart, (), note, numbers)}{_shares(given)}</div>'


def _shares(given: Mapping[str, Any]) -> str:
    """Return the share of each layer in the outputs' bound."""
    estimated = given.get("estimated")
    layers = estimated.get("layers") if isinstance(estimated, Mapping) else None
    if not given.get("available") or not isinstance(layers, Mapping) or not layers:
        return ""
    rows = [
        (name, *(figure(float(entry[key])) for key in ("error", "injected", "arriving")))
        for name, entry in layers.items()
        if isinstance(entry, Mapping)
        and all(isinstance(entry.get(key), (int, float)) for key in ("error", "injected", "arriving"))
    ]
    caption = (
        "How the estimated bound comes about: the largest gain of each layer's error, what it injects behind the layer, and what "
        "arrives there from the layers before."
    )
    numbers = table(("layer", "error gain", "injected", "arriving"), rows, caption)
    return f'<div class="aside"><b>Where the bound comes from</b>{numbers}</div>'


def _accuracy(manifest: Manifest, head: str, accuracy: Accuracy) -> str:
    error = metric(manifest, head) == "nrmse"
    values = (accuracy.original, accuracy.artifact)
    unit = "NRMSE" if error else "accuracy, %"
    scaled = values if error else tuple(100 * value for value in values)
    shown = tuple(figure(value, 4) if error else percent(value) for value in values)
    title = f"{'NRMSE' if error else 'Accuracy'}{f' of {head}' if head else ''} on held-out samples"
    chart = _two_bars(
        f"accuracy-{head}" if head else "accuracy",
        f"{title}, before and after",
        scaled,
        shown,
        unit,
        full=None if error else 100.0,
    )
    change = figure(values[1] - values[0]) if error else f"{100 * (values[1] - values[0]):+.2f} points".replace("-", MINUS)
    rows = [("original", shown[0]), ("artifact", shown[1]), ("change", change), ("samples", count(accuracy.samples))]
    names = {f"{kind}.{head}" if head else kind for kind in ("accuracy", "nrmse")}
    note = next((c["detail"] for c in _checks(manifest) if str(c.get("name")) in names), "")
    return drawn(title, chart, BEFORE_AFTER, str(note), table(("", unit.partition(",")[0]), rows))


def _latency(manifest: Manifest) -> str:
    latency = manifest.latency
    assert latency is not None
    assert latency.original is not None
    measured = [("before", "as published", latency.original), ("after", "artifact", latency.artifact)]
    if latency.cached is not None:
        measured.insert(1, ("before", "kernels cached", latency.cached))
    values = [1e3 * value for _, _, value in measured]
    chart = Chart("latency", "Latency of one whole sequence, before and after", height=150, left=100)
    x = logarithmic(values, *chart.across) if max(values) > 8 * min(values) else linear(values, *chart.across, zero=True)
    chart.axes(x, None, "milliseconds" + (", logarithmic" if x.logarithmic else ""), most=4)
    step = (chart.up[0] - chart.up[1]) / len(measured)
    for index, (kind, name, taken) in enumerate(measured):
        middle = chart.up[1] + (index + 0.5) * step
        chart.write(chart.left - 8, middle + 4, name, "end")
        chart.rule(chart.left, middle, x(1e3 * taken), middle, "stem")
        chart.dot(x(1e3 * taken), middle, 7, kind, f"{name}: {seconds(taken)}")
    rows = [(f"original, {name}" if kind == "before" else name, seconds(taken)) for kind, name, taken in measured]
    for reference, _, ratios in _references(latency):
        for ratio in ratios.values():
            rows += [
                (f"artifact / {reference.removeprefix('the ')}", figure(ratio.ratio)),
                ("95 % interval", f"{figure(ratio.low)} to {figure(ratio.high)}"),
            ]
    threads = f"{latency.threads} thread" + ("s" if latency.threads > 1 else "")
    note = (
        f"Medians of interleaved pairs; {latency.device}, {threads}, batch 1. The original is the PyTorch model as its code runs "
        "it: layers that compute their kernels at every call pay for that; with cached kernels each is computed once."
    )
    return drawn("Latency of one sequence", chart, BEFORE_AFTER, note, table(("", "median"), rows))


def _parameters(manifest: Manifest) -> str:
    parameters = manifest.parameters
    pairs = (
        ("SSM layers", parameters.ssm_before, parameters.ssm_after),
        ("whole model", parameters.model_before, parameters.model_after),
    )
    chart = Chart("parameters", "Parameters before and after", height=150, left=86)
    x = linear([value for _, before, after in pairs for value in (before, after)], *chart.across, zero=True)
    chart.axes(x, None, "real parameters", most=4)
    for index, (name, before, after) in enumerate(pairs):
        middle = chart.up[1] + (index + 0.5) * (chart.up[0] - chart.up[1]) / 2
        chart.write(chart.left - 8, middle + 4, name, "end")
        chart.bar(x(0), middle - 15, x(before) - x(0), 13, "before", f"{name}, original: {count(before)}")
        chart.bar(x(0), middle + 2, x(after) - x(0), 13, "after", f"{name}, artifact: {count(after)}")
    rows = [(name, count(before), count(after), f"{figure(before / max(after, 1))}{TIMES}") for name, before, after in pairs]
    return drawn("Parameters", chart, BEFORE_AFTER, "", table(("", "original", "artifact", "smaller"), rows))


def _costs(manifest: Manifest) -> str:
    """Return the costs of a call that no machine changes, and the recorded latency of the original."""
    costs = [(f"{name}.onnx", count(cost.nodes), count(cost.multiply_adds)) for name, cost in manifest.costs.items()]
    original = manifest.original
    latencies = [
        (f"batch {entry.batch}", seconds(entry.median), f"{seconds(entry.low)} to {seconds(entry.high)}")
        for entry in original.latencies
    ]
    found = table(
        ("one call", "nodes", "multiply-adds"), costs, "Nodes that depend on the inputs, with the bodies of loops once."
    )
    found += _bytes(manifest)
    if latencies:
        caption = f"Where its outputs were recorded: {original.device}, torch {original.torch}; medians, 10th to 90th percentile."
        found += table(("original", "median", "spread"), latencies, caption)
    return f'<div class="aside"><b>Cost of a call</b>{found}</div>'


def _bytes(manifest: Manifest) -> str:
    """Return the bytes of stored numbers by their kind, before and after."""
    whole = 4 * manifest.parameters.model_before
    rows = [("original", "float32", size(whole), "")]
    for name, cost in manifest.costs.items():
        rows += [(f"{name}.onnx", kind, size(count), "") for kind, count in cost.weights.items()]
        if cost.weights:
            rows.append((f"{name}.onnx", "all numbers", size(cost.stored), f"{figure(whole / cost.stored)}{TIMES}"))
    rows += [(weight.name, f"{weight.bits} bits", size(weight.numbers * weight.bits // 8), weight.reason) for weight in
        manifest.weights]  # fmt: skip
    return table(
        ("stored", "kind", "bytes", ENSPACE),
        rows,
        "Numbers alone, of single weights without their steps; the rest of a file is its graph.",
    )


def _two_bars(name: str, label: str, values: Sequence[float], shown: Sequence[str], unit: str, full: float | None) -> Chart:
    chart = Chart(name, label, height=150, left=76)
    x = Scale(0, full, *chart.across) if full is not None else linear(values, *chart.across, zero=True)
    chart.axes(x, None, unit)
    for index, (kind, who) in enumerate((("before", "original"), ("after", "artifact"))):
        middle = chart.up[1] + (index + 0.5) * (chart.up[0] - chart.up[1]) / 2
        chart.write(chart.left - 8, middle + 4, who, "end")
        chart.bar(x(0), middle - 12, x(values[index]) - x(0), 24, kind, f"{who}: {shown[index]}")
    return chart


def _checks(manifest: Manifest) -> list[Mapping[str, Any]]:
    checks = (manifest.parity or {}).get("checks", [])
    return [check for check in checks if isinstance(check, Mapping)] if isinstance(checks, list) else []


def checks(manifest: Manifest) -> str:
    """Return the checks that failed, and all of them folded away, with figures and limits."""
    found = _checks(manifest)
    if not found:
        return ""
    failed = [check for check in found if check.get("passed") is not True]
    summary = f"{len(found)} checks passed" if not failed else f"{len(failed)} of {len(found)} checks failed"
    shown = _table_of_checks(failed) if failed else ""
    return f'{shown}<details class="checks"><summary>{summary}: show all</summary>{_table_of_checks(found)}</details>'


def _table_of_checks(found: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for check in found:
        value, limit = check.get("figure"), check.get("limit")
        rows.append((
            str(check.get("name")), "passed" if check.get("passed") is True else "FAILED",
            _measured(float(value)) if isinstance(value, (int, float)) else "–",
            figure(float(limit)) if isinstance(limit, (int, float)) else "–", str(check.get("detail", "")),
        ))  # fmt: skip
    return table(("check", "", "figure", "limit", ENSPACE), rows, "", words=2)


def _measured(value: float) -> str:
    """Return a figure, with more digits just below one, where the last ones matter."""
    return f"{value:.6f}" if 0.99 <= value < 1 else figure(value)
