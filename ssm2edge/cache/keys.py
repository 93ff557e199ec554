"""Keys of results: one hash of everything that a result depends on; equal keys mean equal results."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import marshal
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Any

import numpy as np
import torch

from ssm2edge.cache.versions import versions
from ssm2edge.loading.code import loaded_code

Hash = Any
"""Type of hashlib's objects, which has no public name."""


def key_of(*parts: object) -> str:
    """Return the SHA-256 of values: numbers, texts, arrays, tensors, dataclasses, ordered sequences and mappings of these.

    Every value is written with its type and length, so that no two different ones are written alike.

    Raises
    ------
    TypeError
        For a value of another type.
    """
    digest = hashlib.sha256()
    _write(digest, parts)
    return digest.hexdigest()


@cache
def tool() -> str:
    """Return the hash of all versions, and of this package's own code, whose version does not change during development."""
    home = Path(__file__).resolve().parent.parent
    code = [(path.relative_to(home).as_posix(), path.read_bytes()) for path in sorted(home.rglob("*.py"))]
    return key_of(versions(), code)


def source_code(directory: Path, classes: set[type]) -> str:
    """Return the hash of the user's code: of every loaded file below the directory, and of the packages of some classes.

    Modules that a forward imports only while it runs are not seen; `--rebuild` is for them.

    Raises
    ------
    UserError
        If a loaded file cannot be read any more.
    """
    packages = {kind.__module__.partition(".")[0] for kind in classes} - {"torch", "ssm2edge", "builtins"}
    return key_of(list(loaded_code(directory, packages).items()))


def bytecode(model: torch.nn.Module) -> list[tuple[str, bytes]]:
    """Return the compiled functions of the classes of all modules, and of functions that hang on the modules themselves."""
    kinds = {kind: None for module in model.modules() for kind in type(module).__mro__}
    holders: list[Mapping[str, Any]] = [vars(kind) for kind in kinds]
    holders += [vars(module) for module in model.modules()]
    found = []
    for holder in holders:
        for name, value in holder.items():
            code = getattr(getattr(value, "__func__", value), "__code__", None)
            if isinstance(code, CodeType):
                found.append((name, marshal.dumps(code)))
    return found


def attributes(model: torch.nn.Module) -> list[tuple[str, str, str]]:
    """Return path, name and hash of all attributes of modules that are no parameters: sizes, switches, tables.

    Functions and other objects are left out; they follow from the code, the factory and its arguments.
    """
    found: list[tuple[str, str, str]] = []
    for path, module in model.named_modules():
        for name, value in sorted(vars(module).items()):
            if name.startswith("_"):
                continue
            try:
                found.append((path, name, key_of(value)))
            except TypeError:
                continue
    return found


def _write(digest: Hash, value: object) -> None:
    if isinstance(value, torch.Tensor):
        # As bytes: numpy lacks some precisions of stored models.
        _mark(digest, "tensor", f"{value.dtype} {tuple(value.shape)}".encode())
        value = value.detach().cpu().resolve_conj().resolve_neg().contiguous().flatten().view(torch.uint8).numpy()
    if isinstance(value, np.ndarray):
        content = np.ascontiguousarray(value)
        _mark(digest, "array", f"{content.dtype.str} {content.shape}".encode())
        digest.update(content.data)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        _mark(digest, "record", type(value).__qualname__.encode())
        _write(digest, [(entry.name, getattr(value, entry.name)) for entry in dataclasses.fields(value)])
    elif isinstance(value, Mapping):
        _mark(digest, "mapping", str(len(value)).encode())
        _write(digest, list(value.items()))
    elif isinstance(value, list | tuple):
        _mark(digest, "sequence", str(len(value)).encode())
        for item in value:
            _write(digest, item)
    elif isinstance(value, bytes):
        _mark(digest, "bytes", value)
    elif value is None or isinstance(value, str | int | float | bool):
        _mark(digest, type(value).__name__, json.dumps(value).encode())
    else:
        raise TypeError(f"a {type(value).__name__} cannot be part of a key.")


def _mark(digest: Hash, kind: str, content: bytes) -> None:
    digest.update(f"{kind} {len(content)}:".encode())
    digest.update(content)
