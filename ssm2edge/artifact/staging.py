"""Publishing an artifact: it is written beside its place and moved there by one rename.

At every moment the place holds the whole old artifact, the whole new one, or nothing, even if the process is killed.  The next
`staging` there removes the files of a killed process (``.<name>.staging-*``, ``.<name>.old-*``); a lock marks the files of a
living one.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from ssm2edge.artifact import manifest as manifest_text
from ssm2edge.artifact.device_records import DeviceGraphRecord, DeviceRecord
from ssm2edge.artifact.errors import ArtifactError
from ssm2edge.artifact.reading import fingerprint
from ssm2edge.artifact.records import Manifest

try:
    import fcntl
except ImportError:  # Windows has no flock; leftovers of killed builds stay there until removed by hand
    fcntl = None  # type: ignore[assignment]

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextlib.contextmanager
def staging(directory: str | os.PathLike[str], force: bool = False) -> Iterator[Path]:
    """Yield a temporary directory to fill and `seal`, and publish it if the block ends without an error.

    Parameters
    ----------
    directory
        The place. Missing parents are made.
    force
        Replace an existing artifact.

    Raises
    ------
    ArtifactError
        If the place is taken (and, with ``force``, by something that is not an artifact alone), cannot be written, the disk is
        full, or the block did not seal its files.
    """
    place = Path(os.path.realpath(directory))
    _refuse_taken(Path(directory), place, force)
    made = _make_parents(place.parent)
    folder: Path | None = None
    lock: int | None = None
    try:
        remove_leftovers(place)
        folder = Path(tempfile.mkdtemp(prefix=f".{place.name}.staging-", dir=place.parent))
        folder.chmod(0o777 & ~_umask())
        lock = _lock(folder)
        yield folder
        if not (folder / manifest_text.NAME).is_file():
            raise ArtifactError(f"{directory} was not published: its manifest was not written.")
        _synchronise(folder)
        _publish(folder, place, force)
    except OSError as fault:
        _clean(folder, made)
        if fault.errno in _NO_SPACE:
            raise ArtifactError(f"There is no space left to write {directory}: free some, or choose another place.") from fault
        if folder is None:
            raise ArtifactError(f"{directory} cannot be written ({fault.strerror}): choose another place.") from fault
        raise
    except BaseException:
        _clean(folder, made)
        raise
    finally:
        if lock is not None:
            os.close(lock)


def seal(folder: Path, manifest: Manifest) -> Manifest:
    """Hash every file of a filled folder and write its manifest, last.

    Parameters
    ----------
    folder
        The folder from `staging`, with every file but the manifest in it.
    manifest
        Everything but ``files``.

    Returns
    -------
    Manifest
        The same with ``files``.
    """
    files = {path.name: fingerprint(path) for path in sorted(folder.iterdir()) if path.name != manifest_text.NAME}
    sealed = replace(manifest, files=files)
    text = manifest_text.to_json(sealed)
    manifest_text.from_json(text)
    (folder / manifest_text.NAME).write_text(text, encoding="utf-8")
    return sealed


def record_device(directory: Path, manifest: Manifest, target: str, record: DeviceRecord) -> Manifest:
    """Add the figures of a target to the manifest of a published artifact, and seal it anew.

    Raises
    ------
    ArtifactError
        If the manifest cannot be written; it is the old one then.
    """
    return _written(directory, replace(manifest, devices={**manifest.devices, target: record}))


def record_device_graphs(directory: Path, manifest: Manifest, graphs: Mapping[str, DeviceGraphRecord]) -> Manifest:
    """Put the graphs for other runtimes into the manifest of a published artifact, and seal it anew.

    Raises
    ------
    ArtifactError
        If the manifest cannot be written; it is the old one then.
    """
    return _written(directory, replace(manifest, device_graphs=dict(graphs)))


def _written(directory: Path, changed: Manifest) -> Manifest:
    place = directory / manifest_text.NAME
    beside = directory.parent / f".{directory.resolve().name}.{manifest_text.NAME}"
    try:
        beside.write_text(manifest_text.to_json(changed), encoding="utf-8")
        beside.replace(place)
    except OSError as fault:
        beside.unlink(missing_ok=True)
        raise ArtifactError(f"{place} cannot be written ({fault.strerror}): make the directory writable.") from fault
    return changed


def _refuse_taken(given: Path, place: Path, force: bool) -> None:
    if not os.path.lexists(place):
        return
    if not force:
        raise ArtifactError(f"{given} exists already: choose another directory, or replace it with --force.")
    if not place.is_dir():
        raise ArtifactError(f"{given} is a file, which --force does not replace: choose another place.")
    names = {path.name for path in place.iterdir()}
    if not names:
        return
    try:
        files = json.loads((place / manifest_text.NAME).read_bytes())["files"]
        foreign = sorted(names - set(files) - {manifest_text.NAME})
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as fault:
        raise ArtifactError(
            f"{given} is not an ssm2edge artifact, so --force does not replace it: choose another place."
        ) from fault
    if foreign:
        raise ArtifactError(f"{given} also holds {foreign[0]}, which is no part of the artifact: move it away before --force.")


def _make_parents(parent: Path) -> list[Path]:
    missing = []
    while not parent.exists():
        missing.append(parent)
        parent = parent.parent
    made: list[Path] = []
    try:
        for path in reversed(missing):
            path.mkdir()
            made.insert(0, path)
    except OSError as fault:
        _clean(None, made)
        raise ArtifactError(f"{path} cannot be made ({fault.strerror}): choose another place.") from fault
    return made


def _publish(folder: Path, place: Path, force: bool) -> None:
    aside: Path | None = None
    lock: int | None = None
    try:
        if force and place.exists():
            aside = Path(tempfile.mkdtemp(prefix=f".{place.name}.old-", dir=place.parent))
            lock = _lock(aside)
            place.rename(aside / "artifact")
        folder.rename(place)
    except BaseException as fault:
        if aside is not None and not place.exists():
            (aside / "artifact").rename(place)
        if aside is not None:
            shutil.rmtree(aside, ignore_errors=True)
        if isinstance(fault, OSError) and fault.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise ArtifactError(f"{place} appeared while this build ran: choose another directory.") from fault
        raise
    finally:
        if lock is not None:
            os.close(lock)
    _synchronise_directory(place.parent)
    if aside is not None:
        shutil.rmtree(aside, ignore_errors=True)


def _clean(folder: Path | None, made: list[Path]) -> None:
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
    for path in made:
        with contextlib.suppress(OSError):
            path.rmdir()


def remove_leftovers(place: Path) -> None:
    """Remove the temporary directories of builds of a place whose processes have died."""
    if fcntl is None:
        return
    for path in place.parent.glob(f".{place.name}.*-*"):
        if not path.name.startswith((f".{place.name}.staging-", f".{place.name}.old-")):
            continue
        lock = _lock(path)
        if lock is not None:
            shutil.rmtree(path, ignore_errors=True)
            os.close(lock)


def _lock(folder: Path) -> int | None:
    """Return a file descriptor with the folder's lock, which the system drops when the process dies; None if another has it."""
    if fcntl is None:
        return None
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _synchronise(folder: Path) -> None:
    for path in folder.iterdir():
        with path.open("rb+") as stream:
            os.fsync(stream.fileno())
    _synchronise_directory(folder)


def _synchronise_directory(folder: Path) -> None:
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
