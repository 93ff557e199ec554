"""The page: sections in the order of readers' questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files as package_files
from typing import Any

from ssm2edge.artifact import Figures, FileRecord, Manifest, trained_by
from ssm2edge.artifact.loss import losses
from ssm2edge.report.curve import curve
from ssm2edge.report.layers import layer
from ssm2edge.report.overview import bound, checks, orders, outcome, tiles
from ssm2edge.report.table import table
from ssm2edge.report.timing import timing
from ssm2edge.report.words import size, text

NAME = "report.html"


def render(
    manifest: Manifest, figures: Figures, files: Mapping[str, FileRecord], others: Sequence[tuple[str, Manifest]] = ()
) -> str:
    """Write the page.

    Parameters
    ----------
    manifest
        The artifact's; its ``files`` are ignored, because the page is written before they are complete.
    figures
        Figures of the charts.
    files
        Files of the artifact, to be listed.
    others
        Other artifacts of the same model, with their names: points of the accuracy-size curve.

    Returns
    -------
    str
        HTML that loads nothing.
    """
    name = text(manifest.source.path.rstrip("/").rpartition("/")[2] or manifest.source.factory)
    sections = [
        ("outcome", "Before and after", outcome(manifest)),
        ("curve", "Accuracy against size", curve(manifest, others)),
        ("layers", "What each layer kept", orders(manifest)),
        ("error", "Error against bound", bound(manifest, figures)),
        ("each", "Layer by layer", _layers(manifest, figures)),
        ("time", "Where the time goes", '<div class="grid">' + "".join(
            timing(profile, number) for number, profile in enumerate(figures.profiles)) + "</div>" if figures.profiles else ""),
        ("checks", "Verification", checks(manifest)),
        ("source", "What was built from what", _source(manifest, files)),
    ]  # fmt: skip
    sections = [entry for entry in sections if entry[2]]
    links = "".join(f'<a href="#{key}">{text(title)}</a>' for key, title, _ in sections)
    body = "".join(f'<section id="{key}"><h2>{text(title)}</h2>{content}</section>' for key, title, content in sections)
    passed = bool((manifest.parity or {}).get("passed"))
    count = len((manifest.parity or {}).get("checks", []))
    verdict_text = f"{'✓ verified' if passed else '✗ not verified'}, {count} check{'' if count == 1 else 's'}"
    # Graphs that compute what was built are no good news where that answers wrongly.
    lossy = any(loss.large for loss in losses(manifest))
    verdict_text += ", large loss" if passed and lossy else ""
    badge = f'<span class="badge {"good" if passed and not lossy else "bad"}">{verdict_text}</span>'
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f'<title>{name} · ssm2edge report</title><link rel="icon" href="data:,"><style>{_asset("style.css")}</style></head>'
        f'<body><header><p class="kicker">ssm2edge report</p><h1>{name}</h1>'
        f'<p class="lead">{_lead(manifest)} {badge}</p></header><main>{tiles(manifest, files)}<nav>{links}</nav>{body}</main>'
        f"<footer>Made by ssm2edge {text(manifest.tool.get('ssm2edge', ''))}. This page needs nothing but itself.</footer>"
        f'<div id="tip" role="status" hidden></div><script>{_asset("hover.js")}</script></body></html>\n'
    )


def _lead(manifest: Manifest) -> str:
    before = sorted({layer.order_before for layer in manifest.layers})
    after = sorted({layer.order_after for layer in manifest.layers})
    options = manifest.options
    how = f"by {text(options.get('method', 'ssm2edge'))}"
    if options.get("calibrate"):
        how += f", then calibrated by {text(options['calibrate'])}"
    how += text(trained_by(manifest))
    kept = f"{_range(before)} states reduced to {_range(after)}"
    layers = f"{len(manifest.layers)} layer" + ("s" if len(manifest.layers) != 1 else "")
    streams = f"streams in blocks of {manifest.streaming.block}" if manifest.streaming.available else "whole sequences only"
    return f"{layers}, {kept} {how}; {streams}."


def _range(values: Sequence[int]) -> str:
    return "–".join(str(value) for value in ([values[0], values[-1]] if len(values) > 1 else values))


def _layers(manifest: Manifest, figures: Figures) -> str:
    drawn = {entry.name: entry for entry in figures.layers}
    return "".join(
        layer(number, record, drawn[record.name], number == 0)
        for number, record in enumerate(manifest.layers)
        if record.name in drawn
    )


def _source(manifest: Manifest, files: Mapping[str, FileRecord]) -> str:
    source = manifest.source
    options = [(key, _plain(value)) for key, value in manifest.options.items()]
    origin = [
        ("source", source.path),
        ("factory", source.factory),
        *((name, f"SHA-256 {sha[:16]}…") for name, sha in source.sha256.items()),
    ]
    listed = [(name, size(record.bytes), f"{record.sha256[:16]}…") for name, record in files.items()]
    streaming = "" if manifest.streaming.available else f'<p class="note">{text(manifest.streaming.reason)}</p>'
    return (
        '<div class="columns">'
        + table(("built from", ""), origin, words=2)
        + table(("option", ""), options, words=2)
        + table(("version", ""), list(manifest.tool.items()), words=2)
        + table(("file", "size", "SHA-256"), listed)
        + f"</div>{streaming}"
    )


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _asset(name: str) -> str:
    return package_files("ssm2edge.report").joinpath(name).read_text(encoding="utf-8")
