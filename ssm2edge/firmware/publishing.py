"""Folders that are written whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ssm2edge.firmware.errors import FirmwareError


def publish(place: Path, files: Mapping[str, str | bytes], force: bool) -> None:
    """Write files into a new folder, which appears when all are there.

    Parameters
    ----------
    place
        The folder.
    files
        Contents by name.
    force
        Replace a folder that holds nothing but such files.

    Raises
    ------
    FirmwareError
        If the folder is taken or cannot be written.
    """
    _refuse_taken(place, files, force)
    folder = None
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{place.name}.staging-", dir=place.parent))
        folder.chmod(0o755)
        for name, content in files.items():
            (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        if place.exists():
            shutil.rmtree(place)
        folder.rename(place)
    except OSError as fault:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        raise FirmwareError(f"{place} cannot be written ({fault.strerror or fault}): choose another place.") from fault


def _refuse_taken(place: Path, files: Mapping[str, str | bytes], force: bool) -> None:
    if not os.path.lexists(place):
        return
    if not place.is_dir():
        raise FirmwareError(f"{place} is a file: choose another place.")
    names = {path.name for path in place.iterdir()}
    if names and not force:
        raise FirmwareError(f"{place} exists already: choose another folder, or replace it with --force.")
    if foreign := sorted(names - set(files)):
        raise FirmwareError(f"{place} also holds {foreign[0]}, which is no part of the package: move it away before --force.")
