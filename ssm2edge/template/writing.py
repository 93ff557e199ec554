"""Writes the model directory to start from, whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from ssm2edge.errors import UserError

FILES = Path(__file__).resolve().parent / "files"


def write_model_directory(directory: Path) -> list[str]:
    """Write build.toml, model.py, make_samples.py and README.md into a new directory; all of them or none.

    Parameters
    ----------
    directory
        New or empty.

    Returns
    -------
    list of str
        Names of the files.

    Raises
    ------
    UserError
        If the directory is not empty, or cannot be written.
    """
    try:
        if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise UserError(f"{directory} is there already and not empty; name a new directory.")
        directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".init-") as temporary:
            whole = Path(temporary) / "whole"
            shutil.copytree(FILES, whole, ignore=shutil.ignore_patterns("__pycache__"), copy_function=shutil.copyfile)
            whole.chmod(0o755)
            if directory.exists():
                directory.rmdir()
            whole.rename(directory)
    except OSError as fault:
        raise UserError(f"{directory} cannot be written ({fault.strerror or fault}).") from fault
    return sorted(file.name for file in directory.iterdir())
