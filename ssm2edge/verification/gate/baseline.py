"""Baseline of a comparison: an artifact, or the manifest of one that is elsewhere."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ssm2edge.artifact import Artifact, ArtifactError, Manifest, open_artifact, open_manifest


@dataclass(frozen=True)
class Baseline:
    """A baseline.

    Attributes
    ----------
    name
        As it was given.
    manifest
        Its figures.
    artifact
        Its files; None if only the manifest is here.
    """

    name: str
    manifest: Manifest
    artifact: Artifact | None


def open_baseline(path: str | os.PathLike[str]) -> Baseline:
    """Open a build directory, or a ``manifest.json`` without its files.

    Raises
    ------
    ArtifactError
        If it is neither, or damaged.
    """
    given = Path(path)
    if given.is_dir():
        artifact = open_artifact(given)
        return Baseline(str(path), artifact.manifest, artifact)
    if not given.is_file():
        raise ArtifactError(f"{given} does not exist: give a build directory, or the manifest.json of one, as the baseline.")
    return Baseline(str(path), open_manifest(given), None)
