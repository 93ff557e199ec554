"""A folder of results, one file each, named by the hash of everything the result depends on.

A file is safetensors: arrays, and in its metadata a JSON record and the SHA-256 of both.  Nothing in it can run code.  It is
written beside its place and renamed, so that a killed build leaves whole files or none; a file that cannot be read back whole is
removed and computed again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

Array = NDArray[Any]
T = TypeVar("T")

FOLDER = ".ssm2edge-cache"
LARGEST_ENTRY = 1 << 30
"""Bytes; larger results are not kept, and larger files are not read."""
LARGEST_FOLDER = 1 << 30
OLDEST = 14 * 24 * 3600
"""Seconds for which a result is kept that no build uses."""
UNFINISHED = 3600
"""Seconds after which a file that was being written belongs to no living build."""


class Form(Protocol[T]):
    """Turns results of one kind into arrays and a JSON record, and back."""

    name: str

    def pack(self, value: T) -> tuple[Mapping[str, Array], Any]:
        """Return arrays by name, and a record of everything else."""

    def unpack(self, arrays: Mapping[str, Array], record: Any) -> T:
        """Return the value; raise any ordinary exception if arrays and record do not make one."""


class Store:
    """Results of builds to one place.

    Parameters
    ----------
    folder
        Made when the first result is kept; None to keep nothing.
    rebuild
        Compute everything again, and keep that.
    """

    def __init__(self, folder: Path | None, rebuild: bool = False) -> None:
        self.folder = folder
        self.rebuild = rebuild

    @classmethod
    def beside(cls, out: Path, rebuild: bool = False) -> Store:
        """Return the store of builds to ``out`` and to its neighbours, which share equal results."""
        return cls(Path(os.path.realpath(out)).parent / FOLDER, rebuild)

    def kept(self, form: Form[T], key: str, make: Callable[[], T]) -> T:
        """Return the result kept under a key; make and keep it if there is none."""
        path = None if self.folder is None else self.folder / f"{form.name}-{key}.safetensors"
        if path is not None and not self.rebuild:
            found = _read(path, form)
            if found is not None:
                return found
        arrays, record = form.pack(make())
        # A full disk or a folder that cannot be written does not stop a build; its next run takes longer.
        with contextlib.suppress(OSError):
            if path is not None:
                self._write(path, arrays, record)
        # A new result is read back like a kept one, so that both are equal to the last stride.
        return form.unpack({name: np.ascontiguousarray(value) for name, value in arrays.items()}, record)

    def clean(self) -> None:
        """Remove results unused for long, then the oldest until the rest is small enough, and the remains of killed builds."""
        now, entries = time.time(), []
        with contextlib.suppress(OSError):
            for path in () if self.folder is None else self.folder.iterdir():
                with contextlib.suppress(OSError):
                    status = path.stat()
                    age = now - status.st_mtime
                    if path.suffix == ".unfinished" and age > UNFINISHED:
                        path.unlink()
                    elif path.suffix == ".safetensors":
                        entries.append((age, status.st_size, path))
        total = 0
        for age, size, path in sorted(entries):
            total += size
            if age > OLDEST or total > LARGEST_FOLDER:
                with contextlib.suppress(OSError):
                    path.unlink()

    def _write(self, path: Path, arrays: Mapping[str, Array], record: Any) -> None:
        text = json.dumps(record, allow_nan=False)
        plain = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
        if sum(value.nbytes for value in plain.values()) > LARGEST_ENTRY:
            return
        content = safetensors.numpy.save(plain, {"record": text, "sha256": _digest(plain, text)})
        _prepare(path.parent)
        descriptor, name = tempfile.mkstemp(suffix=".unfinished", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)
            os.replace(name, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise


def _prepare(folder: Path) -> None:
    if folder.is_dir():
        return
    folder.mkdir()
    # Backups and version control have no use for it; both know these files.
    (folder / "CACHEDIR.TAG").write_text("Signature: 8a477f597d28d172789f06886806bc55\n# Stages kept by ssm2edge build.\n")
    (folder / ".gitignore").write_text("*\n")


def _read(path: Path, form: Form[T]) -> T | None:
    """Return the value of a file; remove the file and return None if it does not hold one."""
    try:
        if path.stat().st_size > 2 * LARGEST_ENTRY:
            raise ValueError("too large")
        with safetensors.safe_open(path, framework="numpy") as entry:
            metadata = entry.metadata() or {}
            arrays = {name: entry.get_tensor(name) for name in entry.keys()}  # noqa: SIM118 - it is no mapping
        text = metadata["record"]
        if metadata["sha256"] != _digest(arrays, text):
            raise ValueError("changed")
        value = form.unpack(arrays, json.loads(text))
        os.utime(path)
    except FileNotFoundError:
        return None
    except Exception:  # whatever a damaged file leads to, it is no result
        with contextlib.suppress(OSError):
            path.unlink()
        return None
    return value


def _digest(arrays: Mapping[str, Array], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        value = np.ascontiguousarray(arrays[name])
        digest.update(f"{len(name)} {name} {value.dtype.str} {value.shape}:".encode())
        digest.update(value.data)
    return digest.hexdigest()
