"""Parameter trees of JAX models: Flax's msgpack files, and npz files of arrays with paths as names; no JAX is needed.

A msgpack file is data, never code: arrays are the extension type 1, whose content is again msgpack (shape, dtype's name, bytes
in C order); 2 is a complex number and 3 a scalar, both decoded alike; an array above Flax's limit comes in chunks.  Other
types, sizes that contradict each other, keys that are no text, and trees deeper than any model are refused.
"""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from ssm2edge.errors import UserError

Tree = dict[str, Any]
"""Nested by name; the leaves are arrays, numbers or text."""

LARGEST_FILE = 1 << 32
"""Bytes of a file, and of the content of a compressed one."""

LARGEST_DEPTH = 64

PLAIN_DTYPES = frozenset(
    {"bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"}
    | {"float16", "float32", "float64", "complex64", "complex128"}
)

KEY = re.compile(r"\['([^']+)'\]")
"""One step of a path as JAX writes it: ``['params']['encoder']``."""

CHUNKED = "__msgpack_chunked_array__"


def read_flax_tree(path: str | Path) -> Tree:
    """Read the variables of a JAX model as Flax's ``to_bytes`` or ``msgpack_serialize`` wrote them, or from npz.

    Parameters
    ----------
    path
        A ``.npz`` file whose names are paths (``params/encoder/layers_0/seq/B``, with / or . between, or as
        ``jax.tree_util.keystr`` writes them), or a msgpack file of any other name.

    Returns
    -------
    dict
        The tree, nested by name, with numpy arrays as leaves (bfloat16 as float32).

    Raises
    ------
    UserError
        If the file is missing, of another kind, corrupt, or larger than 4 GiB.
    """
    file = Path(path)
    try:
        size = file.stat().st_size
        if size > LARGEST_FILE:
            raise UserError(f"{file} has {size} bytes, more than the {LARGEST_FILE} that are read; save the parameters alone.")
        tree = _from_npz(file) if file.suffix == ".npz" else _from_msgpack(file.read_bytes())
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror or error}); name the file of the model's parameters.") from error
    except UserError:
        raise
    except Exception as error:  # numpy, zipfile and msgpack raise a dozen kinds on damaged files
        reason = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
        raise UserError(f"{file} is no readable tree of parameters ({reason}); save it again.") from error
    return tree


class _Unreadable(Exception):
    """A fault in the content of a file."""


def _from_msgpack(content: bytes) -> Tree:
    tree = msgpack.unpackb(content, ext_hook=_extension, raw=False, strict_map_key=True)
    if not isinstance(tree, dict):
        raise _Unreadable(f"it holds a {type(tree).__name__} instead of a tree")
    return _checked(tree)


def _extension(code: int, content: bytes) -> object:
    if code == 2:
        parts = msgpack.unpackb(content)
        if not isinstance(parts, list | tuple) or len(parts) != 2 or not all(isinstance(part, float | int) for part in parts):
            raise _Unreadable("a complex number is not stored as its two parts")
        return complex(*parts)
    if code in (1, 3):
        array = _array(content)
        return array[()] if code == 3 else array
    raise _Unreadable(f"it holds the unknown extension type {code}")


def _array(content: bytes) -> NDArray[Any]:
    value = msgpack.unpackb(content, raw=True)
    if not isinstance(value, list | tuple) or len(value) != 3:
        raise _Unreadable("an array is not stored as shape, dtype and bytes")
    shape, dtype, buffer = value
    if not isinstance(shape, list | tuple) or not all(type(n) is int and n >= 0 for n in shape):
        raise _Unreadable("an array has an impossible shape")
    if not isinstance(dtype, bytes) or not isinstance(buffer, bytes):
        raise _Unreadable("an array is not stored as shape, dtype and bytes")
    name = dtype.decode("ascii", "replace")
    if name != "bfloat16" and name not in PLAIN_DTYPES:
        raise _Unreadable(f"an array has the dtype {name!r}")
    stored = np.dtype(np.uint16 if name == "bfloat16" else name)
    if math.prod(shape) * stored.itemsize != len(buffer):
        raise _Unreadable(f"an array of shape {tuple(shape)} and dtype {name} has {len(buffer)} bytes")
    array = np.frombuffer(buffer, stored)
    if name == "bfloat16":
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return array.reshape(shape).copy()


def _checked(tree: Mapping[str, Any], depth: int = 0) -> Tree:
    """Return the tree with chunked arrays joined and every key a text."""
    if depth > LARGEST_DEPTH:
        raise _Unreadable(f"it is nested deeper than {LARGEST_DEPTH}")
    checked: Tree = {}
    for name, value in tree.items():
        if not isinstance(name, str):
            raise _Unreadable(f"it has the key {name!r} where names are texts")
        if isinstance(value, dict):
            value = _whole(value) if CHUNKED in value else _checked(value, depth + 1)
        checked[name] = value
    return checked


def _whole(chunked: Mapping[str, Any]) -> NDArray[Any]:
    shape, chunks = (_in_order(chunked.get(name)) for name in ("shape", "chunks"))
    if not all(type(n) is int and n >= 0 for n in shape) or not chunks or not all(isinstance(x, np.ndarray) for x in chunks):
        raise _Unreadable("an array in chunks is incomplete")
    joined = np.concatenate([x.reshape(-1) for x in chunks])
    if joined.size != math.prod(shape):
        raise _Unreadable(f"an array of shape {tuple(shape)} has chunks of {joined.size} numbers")
    return joined.reshape(shape)


def _in_order(values: object) -> list[Any]:
    if not isinstance(values, dict) or set(values) != {str(i) for i in range(len(values))}:
        raise _Unreadable("an array in chunks is incomplete")
    return [values[str(i)] for i in range(len(values))]


def _from_npz(file: Path) -> Tree:
    with zipfile.ZipFile(file) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
        if size > LARGEST_FILE:
            raise _Unreadable(f"it unpacks to {size} bytes")
    tree: Tree = {}
    with np.load(file, allow_pickle=False) as archive:
        for name in archive.files:
            *path, leaf = KEY.findall(name) or name.replace(".", "/").split("/")
            place = tree
            for step in path:
                place = place.setdefault(step, {})
                if not isinstance(place, dict):
                    raise _Unreadable(f"{name} lies inside an array")
            if leaf in place:
                raise _Unreadable(f"the name {name} stands for a tree and for an array")
            value = archive[name]
            if not isinstance(value, np.ndarray):
                raise _Unreadable(f"{name} is no array")
            place[leaf] = value
    return tree
