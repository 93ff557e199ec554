"""The reference pack: held-out inputs, what the original model and the reduced one answer to them, labels.

Keys of the npz file: ``inputs.<name>``, ``original.<output>``, ``reduced.<output>``, ``labels`` (optional).  The first axis of
every array counts the samples.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm2edge.artifact.errors import ArtifactError

Array = NDArray[Any]

NAME = "reference.npz"
PROBES = "probes.npz"
"""A second pack of the same form: artificial signals, and what every layer gives on the way, ``original.layer.<name>``."""

LAYER = "layer."
"""What the name of a layer's output begins with, in the pack of probes."""

LARGEST_UNPACKED = 4 << 30
"""Bytes of all arrays together; a pack that claims more is refused unread."""


@dataclass(frozen=True, eq=False)
class Reference:
    """Arrays of a reference pack.

    Attributes
    ----------
    inputs
        By input name, ``[samples, time, ...]``.
    original, reduced
        By output name, ``[samples, ...]``, float32: of the original and of the reduced torch model.
    labels
        ``[samples]`` integers (classes), numbers of the first output's shape (its true values), or None.
    """

    inputs: Mapping[str, Array]
    original: Mapping[str, Array]
    reduced: Mapping[str, Array]
    labels: Array | None = None

    def __post_init__(self) -> None:
        counts = {len(value) if value.ndim else 0 for value in self._arrays().values()}
        if not self.inputs or not self.reduced or set(self.original) != set(self.reduced):
            raise ArtifactError(f"{NAME} must hold inputs, and original and reduced outputs of the same names.")
        if len(counts) != 1 or counts == {0}:
            raise ArtifactError(f"{NAME} must hold the same number of samples, at least 1, in every array.")

    @property
    def samples(self) -> int:
        """Number of held-out samples."""
        return len(next(iter(self.inputs.values())))

    def take(self, rows: slice) -> Reference:
        """The pack cut to some samples."""

        def cut(arrays: Mapping[str, Array]) -> dict[str, Array]:
            return {name: value[rows] for name, value in arrays.items()}

        labels = None if self.labels is None else self.labels[rows]
        return Reference(cut(self.inputs), cut(self.original), cut(self.reduced), labels)

    def save(self, directory: Path, name: str = NAME) -> None:
        """Write the pack into a directory; the same arrays give the same bytes."""
        with zipfile.ZipFile(directory / name, "w", zipfile.ZIP_DEFLATED) as archive:
            for key, value in self._arrays().items():
                # A ZipInfo made from a name alone carries a fixed date, and is stored unless it says otherwise.
                entry = zipfile.ZipInfo(f"{key}.npy")
                entry.compress_type = zipfile.ZIP_DEFLATED
                with archive.open(entry, "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.ascontiguousarray(value), version=(1, 0), allow_pickle=False)

    def _arrays(self) -> dict[str, Array]:
        groups = {"inputs": self.inputs, "original": self.original, "reduced": self.reduced}
        arrays = {f"{group}.{name}": value for group, values in groups.items() for name, value in values.items()}
        return arrays if self.labels is None else arrays | {"labels": self.labels}


def load_reference(path: Path) -> Reference:
    """Read a reference pack, never unpickling and never allocating more than the file's own directory accounts for.

    Raises
    ------
    ArtifactError
        If the file is damaged, too large, holds anything but plain numeric arrays, or keys or sample counts do not fit.
    """
    groups: dict[str, dict[str, Array]] = {"inputs": {}, "original": {}, "reduced": {}}
    labels = None
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if sum(member.file_size for member in members) > LARGEST_UNPACKED:
                raise ArtifactError(f"{path} unpacks to more than {LARGEST_UNPACKED >> 30} GiB: record a smaller reference.")
            for member in members:
                key = member.filename.removesuffix(".npy")
                group, _, name = key.partition(".")
                value = _read_array(archive, member)
                if key == "labels":
                    labels = value
                elif group in groups and name:
                    groups[group][name] = value
                else:
                    raise ArtifactError(f"{path} has the unknown key {key[:40]!r}: build the artifact again.")
    except (OSError, ValueError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error) as fault:
        raise ArtifactError(f"{path} is not a readable reference pack ({str(fault)[:100]}): build the artifact again.") from fault
    return Reference(groups["inputs"], groups["original"], groups["reduced"], labels)


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Array:
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        if version != (1, 0):
            raise ValueError(f"{member.filename} has npy version {version}")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
        if dtype.kind not in "fiub":
            raise ValueError(f"{member.filename} has elements of type {dtype}")
        size = math.prod(shape) * dtype.itemsize
        # The header's shape is believed only as far as the archive really holds the elements.
        content = stream.read(size + 1) if 0 <= size <= member.file_size else b""
        if len(content) != size or min(shape, default=0) < 0:
            raise ValueError(f"{member.filename} holds other than the {size} bytes it announces")
    value = np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")
    return np.ascontiguousarray(value)
