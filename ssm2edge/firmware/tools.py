"""Compilers and emulators: found on the path, run in a folder, with a sentence where they fail."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ssm2edge.firmware.errors import FirmwareError

SECONDS = 1800
"""Longest run of a tool."""
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")
"""The C that the firmware keeps to."""


def find_tool(names: Sequence[str], mend: str) -> str:
    """Return the path of the first tool that is installed.

    Raises
    ------
    FirmwareError
        If none is.
    """
    for name in names:
        if (found := shutil.which(name)) is not None:
            return found
    raise FirmwareError(f"There is no {' or '.join(names)} on this machine: {mend}.")


def run_tool(command: Sequence[str], folder: Path) -> str:
    """Run a tool in a folder and return what it prints.

    Raises
    ------
    FirmwareError
        If it fails, or takes too long.
    """
    name = Path(command[0]).name
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=SECONDS, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired as fault:
        raise FirmwareError(f"{name} did not end within {SECONDS} seconds.") from fault
    except OSError as fault:
        raise FirmwareError(f"{name} cannot be run ({fault.strerror}).") from fault
    if done.returncode:
        told = " ".join((done.stderr or done.stdout).split())[:300]
        raise FirmwareError(f"{name} failed with exit code {done.returncode}: {told or 'it says nothing'}.")
    return done.stdout
