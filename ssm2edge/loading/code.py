"""Files of the user's code that are loaded."""

from __future__ import annotations

import sys
from collections.abc import Collection
from pathlib import Path

from ssm2edge.errors import UserError


def loaded_code(directory: Path | None, packages: Collection[str] = ()) -> dict[str, bytes]:
    """Return the content of every loaded Python file below a directory, and of every loaded file of some packages.

    Modules that a forward imports only while it runs are not seen.

    Parameters
    ----------
    directory
        Names of files in it are relative to it; None for packages alone, whose files have the names of their modules.
    packages
        Top-level packages.

    Raises
    ------
    UserError
        If a loaded file cannot be read any more.
    """
    home = None if directory is None else directory.resolve()
    files: dict[str, bytes] = {}
    for name, module in list(sys.modules.items()):
        given, package = getattr(module, "__file__", None), name.partition(".")[0]
        # torch.ops and similar modules are no files, but give _ops.py as theirs: such names are not read.
        if not isinstance(given, str) or not given.endswith(".py") or not Path(given).is_absolute() or package == "ssm2edge":
            continue
        path = Path(given).resolve()
        inside = home is not None and path.is_relative_to(home) and "site-packages" not in path.parts
        if not inside and package not in packages:
            continue
        try:
            files[path.relative_to(home).as_posix() if home is not None and inside else name] = path.read_bytes()
        except OSError as fault:
            raise UserError(f"{path} cannot be read ({fault.strerror}).") from fault
    return dict(sorted(files.items()))
