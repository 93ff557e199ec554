"""Opening an artifact: no file is used before its hash is compared."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ssm2edge.artifact import manifest as manifest_text
from ssm2edge.artifact import reference as reference_pack
from ssm2edge.artifact import responses as response_pack
from ssm2edge.artifact.errors import ArtifactError
from ssm2edge.artifact.records import FileRecord, Manifest
from ssm2edge.artifact.reference import Reference
from ssm2edge.artifact.responses import Responses

LARGEST_MANIFEST = 16 << 20
LARGEST_FILE = 2 << 30
PLAIN_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"


@dataclass(frozen=True)
class Artifact:
    """A build directory whose files were compared with its manifest.

    Attributes
    ----------
    directory
        Its path.
    manifest
        Its content, read.
    """

    directory: Path
    manifest: Manifest

    def path(self, name: str) -> Path:
        """Return the path of a file that the manifest lists.

        Raises
        ------
        ArtifactError
            If it lists no such file.
        """
        if name not in self.manifest.files:
            raise ArtifactError(f"{self.directory} has no {name}.")
        return self.directory / name

    @property
    def offline(self) -> Path:
        """The whole-sequence graph."""
        return self.path("offline.onnx")

    @property
    def stream(self) -> Path | None:
        """The streaming graph; None if the model cannot stream."""
        return self.path("stream.onnx") if self.manifest.streaming.available else None

    @cached_property
    def reference(self) -> Reference:
        """The reference pack, read on first use."""
        return reference_pack.load_reference(self.path(reference_pack.NAME))

    @cached_property
    def probes(self) -> Reference | None:
        """The pack of probes, read on first use; None if there is none."""
        if reference_pack.PROBES not in self.manifest.files:
            return None
        return reference_pack.load_reference(self.path(reference_pack.PROBES))

    @cached_property
    def responses(self) -> Responses | None:
        """The pack of responses, read on first use; None if there is none."""
        if response_pack.NAME not in self.manifest.files:
            return None
        return response_pack.load_responses(self.path(response_pack.NAME))


def open_artifact(directory: str | os.PathLike[str]) -> Artifact:
    """Open a build directory and check that every file is as built.

    Raises
    ------
    ArtifactError
        If the directory or a file is missing, a name leaves the directory, a size or SHA-256 differs, the schema is another
        one, or the manifest contradicts itself.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise ArtifactError(f"{directory} is not a directory: give one that `ssm2edge build` made.")
    manifest = open_manifest(directory / manifest_text.NAME)
    for name, record in manifest.files.items():
        if not re.fullmatch(PLAIN_NAME, name):
            raise ArtifactError(
                f"The manifest of {directory} lists {name[:60]!r}, which is not a plain file name: do not use it."
            )
        _compare(directory / name, record)
    needed = {"offline.onnx", reference_pack.NAME} | ({"stream.onnx"} if manifest.streaming.available else set())
    for name in sorted(needed - set(manifest.files)):
        raise ArtifactError(f"The manifest of {directory} does not list {name}: build the artifact again.")
    return Artifact(directory, manifest)


def open_manifest(path: Path) -> Manifest:
    """Read a manifest alone, whose files may be elsewhere.

    Raises
    ------
    ArtifactError
        If it cannot be read, or is no manifest of this schema.
    """
    return manifest_text.from_json(_read_manifest(path), str(path))


def fingerprint(path: Path) -> FileRecord:
    """Return the size and SHA-256 of a file."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
            size += len(chunk)
    return FileRecord(digest.hexdigest(), size)


def _read_manifest(path: Path) -> bytes:
    if path.exists() and not path.is_file():
        raise ArtifactError(f"{path} cannot be read (it is not a plain file).")
    try:
        with path.open("rb") as stream:
            content = stream.read(LARGEST_MANIFEST + 1)
    except FileNotFoundError as fault:
        raise ArtifactError(f"{path.parent} has no {path.name}: it is not an ssm2edge artifact.") from fault
    except OSError as fault:
        raise ArtifactError(f"{path} cannot be read ({fault.strerror}).") from fault
    if len(content) > LARGEST_MANIFEST:
        raise ArtifactError(f"{path} is larger than {LARGEST_MANIFEST >> 20} MiB: it is no manifest of ssm2edge.")
    return content


def _compare(path: Path, record: FileRecord) -> None:
    try:
        if path.is_symlink() or not path.is_file():
            raise ArtifactError(f"{path} is missing or not a plain file, but the manifest lists it: copy or build it again.")
        size = path.stat().st_size
        if size != record.bytes or size > LARGEST_FILE:
            raise ArtifactError(f"{path} has {size} bytes, but the manifest says {record.bytes}: copy or build it again.")
        found = fingerprint(path)
    except OSError as fault:
        raise ArtifactError(f"{path} cannot be read ({fault.strerror}).") from fault
    if found != record:
        raise ArtifactError(f"{path} is not the file that was built: its SHA-256 differs from the manifest's; copy it again.")
