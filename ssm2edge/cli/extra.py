"""Imports that need the build extra."""

from __future__ import annotations

from typing import Any

from ssm2edge.errors import UserError


def import_live() -> Any:
    """Import the module that runs the original again; raise an error that names a missing package."""
    try:
        from ssm2edge.original import live
    except ModuleNotFoundError as missing:
        raise UserError(f"--live needs {missing.name}, which the build extra brings: pip install 'ssm2edge[build]'.") from missing
    return live


def import_firmware() -> Any:
    """Import the room that writes C; raise an error that names a missing package."""
    try:
        from ssm2edge import firmware
    except ModuleNotFoundError as missing:
        raise UserError(
            f"The C form needs {missing.name}, which the build extra brings: pip install 'ssm2edge[build]'."
        ) from missing
    return firmware
