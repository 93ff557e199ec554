"""Functions of the user's code: their file or package is imported, and they are found in it by name."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from ssm2edge.errors import UserError
from ssm2edge.loading.weights import first_line


def import_code(named: str, directory: Path, purpose: str) -> tuple[ModuleType, str]:
    """Import the code that a function is in.

    Parameters
    ----------
    named
        ``file.py:function`` or ``package.module:function``.
    directory
        Where relative paths start.
    purpose
        The function's purpose as a noun, for sentences.

    Returns
    -------
    ModuleType
        The code.
    str
        Name of the function, which may not be in it.

    Raises
    ------
    UserError
        If no function is named, or the code cannot be imported.
    """
    file, _, function = named.rpartition(":")
    if not file or not function:
        raise UserError(f"The {purpose} {named!r} names no function; give file.py:function or package.module:function.")
    # What the code prints is no part of the command's answer.
    with redirect_stdout(sys.stderr):
        return (_import_file(directory / file, purpose) if file.endswith(".py") else _import_module(file)), function


def function_of(module: ModuleType, function: str, named: str, mend: str) -> Callable[..., Any]:
    """Return a function of a module.

    Raises
    ------
    UserError
        If there is none of this name.
    """
    found = getattr(module, function, None)
    if not callable(found):
        raise UserError(f"{named}: there is no function {function!r} in it; {mend}.")
    made: Callable[..., Any] = found
    return made


@contextmanager
def beside(module: ModuleType) -> Iterator[None]:
    """Let the code of a file import its neighbours; that of a package names them in full."""
    if module.__package__:
        yield
        return
    folder = str(Path(str(module.__file__)).parent.resolve())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        # The code may have taken it away itself.
        with suppress(ValueError):
            sys.path.remove(folder)


@contextmanager
def settings_kept() -> Iterator[None]:
    """Put back the working directory, and settings of torch, that the user's code changes: the rest of a build has its own."""
    directory, dtype, device = os.getcwd(), torch.get_default_dtype(), torch.get_default_device()
    strict, warns = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    precision = torch.get_float32_matmul_precision()
    try:
        yield
    finally:
        os.chdir(directory)
        torch.set_default_dtype(dtype)
        if torch.get_default_device() != device:
            # To name the CPU would put a mode of torch in front of every operation.
            torch.set_default_device(None if device.type == "cpu" else device)
        torch.use_deterministic_algorithms(strict, warn_only=warns)
        torch.set_float32_matmul_precision(precision)


def _import_file(path: Path, purpose: str) -> ModuleType:
    if not path.is_file():
        raise UserError(f"{path} does not exist; name the file of the {purpose}.")
    name = f"ssm2edge_user_{purpose.split()[-1]}_{path.stem.replace('.', '_')}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path} is no Python file.")
    module = importlib.util.module_from_spec(spec)
    # Classes look up their module during their creation.
    sys.modules[name] = module
    with beside(module):
        try:
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:  # the user's own code may raise anything, and leave
            raise UserError(f"{path} cannot be imported ({type(error).__name__}: {first_line(error)}).") from error
    return module


def _import_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # the user's own code may raise anything, and leave
        raise UserError(f"{name} cannot be imported ({type(error).__name__}: {first_line(error)}).") from error
