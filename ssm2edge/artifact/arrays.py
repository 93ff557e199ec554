"""Arrays in an npz archive: equal arrays give equal bytes; reading never unpickles, nor allocates by a file's header alone."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm2edge.artifact.errors import ArtifactError

Array = NDArray[Any]

LARGEST_UNPACKED = 4 << 30
"""Bytes of all arrays together; a pack that claims more is refused before it is read."""


def save_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write an archive."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for key, value in arrays.items():
            # A ZipInfo made from a name alone has a fixed date and no compression.
            entry = zipfile.ZipInfo(f"{key}.npy")
            entry.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(entry, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.ascontiguousarray(value), version=(1, 0), allow_pickle=False)


def load_arrays(path: Path) -> dict[str, Array]:
    """Read an archive without unpickling, and without allocating more than the archive's directory accounts for.

    Raises
    ------
    ArtifactError
        If the file is damaged, too large, or holds anything but plain numeric arrays.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if sum(member.file_size for member in members) > LARGEST_UNPACKED:
                raise ArtifactError(f"{path} unpacks to more than {LARGEST_UNPACKED >> 30} GiB: record a smaller one.")
            return {member.filename.removesuffix(".npy"): _read_array(archive, member) for member in members}
    except ArtifactError:
        raise
    except Exception as fault:  # numpy and zipfile raise a dozen kinds on damaged files, among them those of Python's parser
        raise ArtifactError(f"{path} is not a readable pack of arrays ({str(fault)[:100]}): build the artifact again.") from fault


def unknown_key(path: Path, key: str) -> ArtifactError:
    """Return the sentence about a key that a pack cannot have."""
    return ArtifactError(f"{path} has the unknown key {key[:40]!r}: build the artifact again.")


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Array:
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        if version != (1, 0):
            raise ValueError(f"{member.filename} has npy version {version}")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
        if dtype.kind not in "fiub":
            raise ValueError(f"{member.filename} has elements of type {dtype}")
        size = math.prod(shape) * dtype.itemsize
        # The header's shape counts only as far as the archive holds the elements.
        content = stream.read(size + 1) if 0 <= size <= member.file_size else b""
        if len(content) != size or min(shape, default=0) < 0:
            raise ValueError(f"{member.filename} holds other than the {size} bytes it announces")
    value = np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")
    return np.ascontiguousarray(value)
