"""The manifest as text: JSON to `Manifest` and back."""

from __future__ import annotations

import json

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
        return json.dumps(plain(manifest), indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"
    except (TypeError, ValueError) as fault:
        raise ArtifactError(f"The manifest cannot be written as JSON: {fault}.") from fault


def from_json(text: str | bytes, name: str = NAME) -> Manifest:
    """Return the manifest of a text; errors call it by the name.

    Raises
    ------
    ArtifactError
        If the text is not JSON, of another schema version, or differs from the records in any key or type.
    """
    value = parse(text, name)
    if not isinstance(value, dict) or "schema" not in value:
        raise ArtifactError(f"{name} has no schema version: it is not a manifest of ssm2edge.")
    if value["schema"] != SCHEMA or isinstance(value["schema"], bool):
        raise ArtifactError(
            f"{name} has schema {str(value['schema'])[:20]}, but this version of ssm2edge reads {SCHEMA}: build it again."
        )
    manifest = typed(Manifest, value, name)
    assert isinstance(manifest, Manifest)
    return manifest
