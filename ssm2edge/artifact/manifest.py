"""The manifest as text: JSON to `Manifest` and back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from ssm2edge.artifact.errors import ArtifactError
from ssm2edge.artifact.records import SCHEMA, Manifest
from ssm2edge.artifact.typed import parse, plain, typed

NAME = "manifest.json"


def to_json(manifest: Manifest) -> str:
    """Return the text of a manifest; equal manifests give equal texts.

    Raises
    ------
    ArtifactError
        If a figure is not finite, or a free value (options, bound, task, parity) cannot be written as JSON.
    """
    try:
        value = plain(manifest)
        value["seal"] = _seal(value)
        return json.dumps(value, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"
    except (TypeError, ValueError) as fault:
        raise ArtifactError(f"The manifest cannot be written as JSON: {fault}.") from fault


def from_json(text: str | bytes, name: str = NAME) -> Manifest:
    """Return the manifest of a text; errors call it by the name.

    Raises
    ------
    ArtifactError
        If the text is not JSON, of another schema version, differs from the records in any key or type, or was changed.
    """
    value = parse(text, name)
    if not isinstance(value, dict) or "schema" not in value:
        raise ArtifactError(f"{name} has no schema version: it is not a manifest of ssm2edge.")
    if value["schema"] != SCHEMA or isinstance(value["schema"], bool):
        raise ArtifactError(
            f"{name} has schema {str(value['schema'])[:20]}, but this version of ssm2edge reads {SCHEMA}: build it again."
        )
    manifest = typed(Manifest, value, name)
    if value.get("seal", _seal(value)) != _seal(value):
        raise ArtifactError(
            f"{name} is not the one that was built: its seal, a digest of all it records, differs; copy it again."
        )
    assert isinstance(manifest, Manifest)
    return manifest


def _seal(value: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the canonical form of a manifest but for its seal."""
    entries = {key: entry for key, entry in value.items() if key != "seal"}
    return hashlib.sha256(json.dumps(entries, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()).hexdigest()
