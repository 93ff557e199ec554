"""The report of a build: its figures, and the page that draws them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ssm2edge.artifact import Figures, Manifest, Reference, StateRecord, Streaming, fingerprint
from ssm2edge.options import Options
from ssm2edge.profiling import profile_graphs
from ssm2edge.report import NAME, render
from ssm2edge.stages.load import Loaded, horizon_of
from ssm2edge.stages.portray import portray
from ssm2edge.systems.system import System


def draw_up(
    loaded: Loaded,
    options: Options,
    deployed: Mapping[str, System],
    reference: Reference,
    folder: Path,
    streaming: Streaming,
    states: tuple[StateRecord, ...],
) -> Figures:
    """Measure what the report shows, and write ``report.json``."""
    first = {name: value[:1] for name, value in loaded.samples.held_out.items()}
    profiles = profile_graphs(folder, list(deployed), first, loaded.source.time_axis, streaming.block, states)
    figures = portray(loaded.systems, deployed, horizon_of(options, loaded), reference, profiles)
    figures.save(folder)
    return figures


def write_page(folder: Path, manifest: Manifest, figures: Figures) -> None:
    """Write ``report.html``, which lists the files that are there before it."""
    files = {path.name: fingerprint(path) for path in sorted(folder.iterdir())}
    (folder / NAME).write_text(render(manifest, figures, files), encoding="utf-8")
