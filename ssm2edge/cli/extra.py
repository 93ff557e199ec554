"""What only the build extra brings."""

from __future__ import annotations

from typing import Any

from ssm2edge.errors import UserError


def import_live() -> Any:
    """Import what runs the original again, or say what is missing."""
    try:
        from ssm2edge.original import live
    except ModuleNotFoundError as missing:
        raise UserError(f"--live needs {missing.name}, which the build extra brings: pip install 'ssm2edge[build]'.") from missing
    return live
