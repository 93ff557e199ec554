"""The build directory: its files, manifest and hashes; written whole or not at all."""

from __future__ import annotations

from .errors import ArtifactError
from .reading import Artifact, fingerprint, open_artifact
from .records import (
    SCHEMA,
    Accuracy,
    FileRecord,
    Latency,
    LayerRecord,
    Manifest,
    Parameters,
    Ratio,
    Source,
    StateRecord,
    Streaming,
)
from .reference import Reference, load_reference
from .staging import seal, staging

__all__ = [
    "SCHEMA",
    "Accuracy",
    "Artifact",
    "ArtifactError",
    "FileRecord",
    "Latency",
    "LayerRecord",
    "Manifest",
    "Parameters",
    "Ratio",
    "Reference",
    "Source",
    "StateRecord",
    "Streaming",
    "fingerprint",
    "load_reference",
    "open_artifact",
    "seal",
    "staging",
]
