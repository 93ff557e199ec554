"""Opening an artifact whose integrity is part of the verdict."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ssm2edge.artifact import Artifact


def open_intact(directory: Path) -> Artifact:
    """Open an artifact; report damaged files as a failure of the check ``integrity``.

    Raises
    ------
    ArtifactError
        If there is no whole artifact.
    """
    from ssm2edge.artifact import ArtifactError, open_artifact

    try:
        return open_artifact(directory)
    except ArtifactError as fault:
        raise ArtifactError(f"integrity failed: {fault}") from fault
