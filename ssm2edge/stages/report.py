"""The report of a build: its figures, and the page that draws them."""

from __future__ import annotations

from pathlib import Path

from ssm2edge.artifact import (
    ArtifactError,
    Figures,
    Manifest,
    Reference,
    fingerprint,
    open_manifest,
)
from ssm2edge.artifact.manifest import NAME as MANIFEST
from ssm2edge.original.task import Task
from ssm2edge.report import NAME, render
from ssm2edge.stages.export import Graphs
from ssm2edge.stages.portray import portray
from ssm2edge.stages.profile import profile_graphs
from ssm2edge.stages.replace import Reduced

MOST = 24
"""Artifacts beside this one that its report shows."""


def draw_up(task: Task, reduced: Reduced, reference: Reference, graphs: Graphs, folder: Path) -> Figures:
    """Measure what the report shows, and write ``report.json``."""
    deployed = reduced.systems
    profiles = profile_graphs(folder, list(deployed), task.first, task.samples.axes, graphs.streaming.block, graphs.states)
    figures = portray(task.systems, deployed, task.horizon, reference, profiles)
    figures.save(folder)
    return figures


def write_page(folder: Path, manifest: Manifest, figures: Figures, out: Path) -> None:
    """Write ``report.html``, which lists the files that are there before it, and artifacts of the same model beside ``out``."""
    files = {path.name: fingerprint(path) for path in sorted(folder.iterdir())}
    (folder / NAME).write_text(render(manifest, figures, files, neighbours(manifest, out)), encoding="utf-8")


def neighbours(manifest: Manifest, out: Path) -> list[tuple[str, Manifest]]:
    """Artifacts beside a place that were built from the same files, in other sizes: what was tried."""
    found = []
    for path in sorted(out.resolve().parent.iterdir()):
        if path.name.startswith(".") or path == out.resolve() or not path.is_dir():
            continue
        try:
            other = open_manifest(path / MANIFEST)
        except ArtifactError:
            continue  # something else, or of another version
        if other.source.sha256 == manifest.source.sha256:
            found.append((path.name, other))
        # A sweep has many more neighbours: they are not all read.
        if len(found) == MOST:
            break
    return found
